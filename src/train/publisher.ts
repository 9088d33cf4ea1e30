/**
 * Writes a run's metrics and checkpoints from a thread of its own, in order, while training continues: what it writes is a
 * snapshot. Before each file becomes visible the thread asks for leave, which only the run's owner has.
 */

import type { Position } from "../engine/metrics.ts";
import { bytesOfState, snapshot, type TrainState } from "../engine/state.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import { FencedError, StoreError } from "../store/errors.ts";
import type { CheckpointRecord, Permit } from "../store/run_store.ts";
import type { TokenizerFile } from "../text/tokenizer.ts";
import { messageOf, UserError } from "../util/errors.ts";

/** Published in the order of its fields. */
export interface Publication {
  /** One line an epoch. */
  readonly metrics?: { step: number };
  /** Lines of an epoch, one a step. */
  readonly steps?: { epoch: number; lines: readonly object[] };
  readonly checkpoint?: {
    readonly of: Pick<CheckpointRecord, "step" | "epoch" | "knn">;
    readonly position: Position;
    /** A snapshot. */
    readonly state: TrainState;
  };
}

export interface PublisherInit {
  readonly storeUrl: string;
  readonly runId: string;
  readonly spec: PretrainSpec;
  readonly channels: number;
  readonly tokenizer?: TokenizerFile | undefined;
}

export type ToPublisher =
  | ({ kind: "init" } & PublisherInit)
  | { kind: "publish"; publication: Publication }
  | { kind: "permit"; refused: string | undefined };

export type FromPublisher =
  | { kind: "permit" }
  /** `state`: the snapshot that is not needed any more. */
  | { kind: "published"; record: CheckpointRecord | undefined; state: TrainState | undefined }
  | { kind: "failed"; name: string; message: string };

/** Snapshots that may wait while the store is slow or leave is not to be had; training waits when there are more. */
const PENDING_BYTES = 256 * 2 ** 20;

const errors: Record<string, new (message: string) => Error> = {
  FencedError,
  StoreError,
  UserError,
  FileError: UserError,
};

export class Publisher {
  private readonly thread: Worker;
  private readonly pending: { bytes: number; since: number }[] = [];
  private failure: Error | undefined;
  private waiting: (() => void)[] = [];
  /** A snapshot whose memory can be used again. */
  private spare: TrainState | undefined;
  /** Of the newest checkpoint that is safely in the store. */
  record: CheckpointRecord | undefined;
  /** From the snapshot of that one to the store. */
  seconds: number | null = null;
  /** Step of the newest checkpoint that was submitted. */
  submitted = -1;

  constructor(init: PublisherInit, permit: Permit) {
    this.thread = new Worker(new URL("./publisher_thread.ts", import.meta.url).href);
    this.thread.onerror = ({ message }) => this.fail(new Error(`the publishing thread died: ${message}`));
    this.thread.onmessage = ({ data }: MessageEvent<FromPublisher>) => {
      if (data.kind === "failed") this.fail(new (errors[data.name] ?? Error)(data.message));
      else if (data.kind === "published") {
        this.record = data.record ?? this.record;
        this.spare = data.state ?? this.spare;
        const published = this.pending.shift();
        if (data.record && published) this.seconds = (performance.now() - published.since) / 1000;
        this.wake();
      } else {
        permit().then(
          () => this.send({ kind: "permit", refused: undefined }),
          (error: unknown) => this.send({ kind: "permit", refused: messageOf(error) }),
        );
      }
    };
    this.send({ kind: "init", ...init });
  }

  /** A copy of the state, in memory that was used before where there is some. */
  snapshot(state: TrainState): TrainState {
    const { spare } = this;
    this.spare = undefined;
    return snapshot(state, spare);
  }

  /** The memory of a snapshot that was not submitted after all. */
  recycle(state: TrainState): void {
    this.spare = state;
  }

  /** Resolves when training may continue: at once unless too much waits. Throws what an earlier publication failed with. */
  async submit(publication: Publication): Promise<void> {
    const { checkpoint } = publication;
    const bytes = checkpoint ? bytesOfState(checkpoint.state) : 0;
    await this.until(() => this.pending.length === 0 || this.pendingBytes() + bytes <= PENDING_BYTES);
    if (checkpoint) this.submitted = checkpoint.of.step;
    this.pending.push({ bytes, since: performance.now() });
    this.send({ kind: "publish", publication });
  }

  /** Resolves when everything is in the store. */
  async drained(): Promise<void> {
    await this.until(() => this.pending.length === 0);
  }

  close(): void {
    this.thread.terminate();
  }

  private send(message: ToPublisher): void {
    this.thread.postMessage(message);
  }

  private pendingBytes(): number {
    return this.pending.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  private async until(content: () => boolean): Promise<void> {
    for (;;) {
      if (this.failure) throw this.failure;
      if (content()) return;
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  private fail(error: Error): void {
    this.failure ??= error;
    this.wake();
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}
