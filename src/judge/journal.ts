/**
 * What an evaluation has done so far, as checkpoints of its own run: what finished parts yielded, the state of the fit in
 * progress, and features in pieces. All of it is deleted when the evaluation succeeds.
 *
 * A name is a path (`untrained/validation-0`); whatever lies below a part is dropped when the part has finished.
 */

import type { RunStore } from "../store/run_store.ts";
import { decodeSafetensors, encodeSafetensors, type StoredTensor, type ToStore } from "../store/safetensors.ts";
import { PIECES, type Piece, Pieces } from "./pieces.ts";

const FORMAT = "mocod-evaluation-1";

/** Prefixes of the files that an evaluation deletes when it succeeds. */
export const TEMPORARY = ["checkpoints/", PIECES] as const;

/** The newest checkpoint and the one before it, should the newest be damaged. */
const KEEP = { keepLast: 0, keepBest: false, keepEvery: 0 };

/** State of a fit: where it is, and its tensors. */
export interface Snapshot {
  readonly position: object;
  readonly tensors: ToStore;
}

export interface Resumed<P> {
  readonly position: P;
  readonly tensors: Map<string, StoredTensor>;
  /** Of the checkpoint, for errors. */
  readonly file: string;
}

interface Part {
  readonly value: unknown;
  /** Images that it took. */
  readonly images: number;
}

/** Everything in a checkpoint that is not a tensor. */
interface Stored {
  /** What a part depends on, by scope: those of another identity count for nothing. */
  identities: Record<string, string>;
  parts: Record<string, Part>;
  pieces: Record<string, Piece[]>;
  state: { name: string; position: object } | null;
  images: number;
}

const isBelow = (name: string, scope: string) => name === scope || name.startsWith(`${scope}/`);

export class Journal {
  /** Seconds that the newest checkpoint took. */
  seconds: number | null = null;
  private savedAt = performance.now();
  private live: { name: string; snapshot: () => Promise<Snapshot> } | undefined;

  private constructor(
    private readonly own: RunStore,
    private readonly everyMinutes: number,
    private readonly log: (message: string) => void,
    /** Number of the newest checkpoint. */
    private serial: number,
    private readonly stored: Stored,
    /** The state that was found and not resumed yet. */
    private found: Resumed<object> | undefined,
    readonly pieces: Pieces,
  ) {}

  /** Reads the newest valid checkpoint, and deletes what a killed writer has left. */
  static async open(own: RunStore, everyMinutes: number, log: (message: string) => void): Promise<Journal> {
    const checkpoint = await own.goodCheckpoint("last", log);
    await own.tidy(checkpoint?.record.step ?? -1);
    let stored: Stored = { identities: {}, parts: {}, pieces: {}, state: null, images: 0 };
    let found: Resumed<object> | undefined;
    if (checkpoint) {
      const { file } = checkpoint.record;
      const { tensors, metadata } = decodeSafetensors(checkpoint.bytes, file);
      if (metadata.format === FORMAT) {
        stored = JSON.parse(metadata.journal as string) as Stored;
        if (stored.state) found = { position: stored.state.position, tensors, file };
      } else log(`${own.path}/checkpoints/${file}: of another version (${metadata.format}), beginning anew`);
    }
    const pieces = await Pieces.open(own, stored.pieces, log);
    return new Journal(own, everyMinutes, log, checkpoint?.record.step ?? -1, stored, found, pieces);
  }

  /** Images of the parts and the fit that the checkpoint holds; 0: there is none. */
  get images(): number {
    return this.stored.images;
  }

  /** What was found, in words; undefined where there is nothing to resume. */
  describe(): string | undefined {
    const { parts, state } = this.stored;
    const said = [
      ...Object.keys(parts).map((name) => `${name} is done`),
      ...(state ? [`${state.name} is in progress`] : []),
      ...this.pieces.describe(),
    ];
    return said.length > 0 ? said.join(", ") : undefined;
  }

  /** States what everything below `scope` depends on; what was found with another identity is dropped. */
  identify(scope: string, identity: string): void {
    const { identities } = this.stored;
    if (identities[scope] !== undefined && identities[scope] !== identity) {
      this.log(`${scope || "everything"}: depends on other weights or images than the checkpoint, beginning it anew`);
      for (const name of Object.keys(identities))
        if (isBelow(name, scope) || scope === EVERYTHING) delete identities[name];
      this.drop(scope);
    }
    identities[scope] = identity;
  }

  part(name: string): Part | undefined {
    return this.stored.parts[name];
  }

  /** Stores what a part yielded, in place of everything below it. */
  async finishPart(name: string, part: Part, images: number): Promise<void> {
    this.drop(name);
    this.stored.parts[name] = part;
    await this.save(images, false);
  }

  /** The state that was found for a fit. It stays part of every checkpoint until `hold` replaces it. */
  resumed<P extends object>(name: string): Resumed<P> | undefined {
    return this.stored.state?.name === name ? (this.found as Resumed<P> | undefined) : undefined;
  }

  /** From now on checkpoints hold the state of this fit; there is one at a time. */
  hold(name: string, snapshot: () => Promise<Snapshot>): void {
    this.live = { name, snapshot };
    this.found = undefined;
    this.stored.state = null;
  }

  /** Drops everything that is below `scope`. */
  drop(scope: string): void {
    const { parts, state } = this.stored;
    const below = (name: string) => scope === EVERYTHING || isBelow(name, scope);
    for (const name of Object.keys(parts)) if (below(name)) delete parts[name];
    if (state && below(state.name)) {
      this.stored.state = null;
      this.found = undefined;
    }
    if (this.live && below(this.live.name)) this.live = undefined;
    this.pieces.drop(below);
  }

  get due(): boolean {
    return this.everyMinutes > 0 && performance.now() - this.savedAt >= this.everyMinutes * 60_000;
  }

  /**
   * Writes a checkpoint.
   *
   * @param images - Images that the evaluation has dealt with.
   * @param whole - Also the features that are in memory; else only what is small.
   */
  async save(images: number, whole: boolean): Promise<void> {
    const startedAt = performance.now();
    if (whole) await this.pieces.flush();
    const live = await this.live?.snapshot();
    const { stored } = this;
    stored.images = images;
    stored.pieces = this.pieces.stored();
    const state = live && this.live ? { name: this.live.name, position: live.position } : stored.state;
    const tensors: ToStore = live?.tensors ?? this.found?.tensors ?? new Map();
    const metadata = { format: FORMAT, journal: JSON.stringify({ ...stored, state } satisfies Stored) };
    const step = ++this.serial;
    await this.own.writeCheckpoint({ step, epoch: null, knn: null }, encodeSafetensors(tensors, metadata), KEEP);
    await this.pieces.sweep();
    const now = performance.now();
    this.seconds = (now - startedAt) / 1000;
    if (whole) this.savedAt = now;
  }
}

/** The scope of all parts. */
export const EVERYTHING = "";
