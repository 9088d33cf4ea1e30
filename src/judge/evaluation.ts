/** What the jobs on a pretrained encoder share: its session, its weights, its images, its baselines. */
import { type Dataset, type Images, isHeld } from "../data/types.ts";
import type { Computing } from "../engine/engine.ts";
import { trainedParams, trainedStats, useAverage } from "../engine/state.ts";
import type { Labelled } from "../evaluate/knn.ts";
import type { Layout } from "../nn/layout.ts";
import type { DatasetSpec } from "../schema/dataset.ts";
import type { WhichEncoder } from "../schema/evaluation.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import { sha256 } from "../store/files.ts";
import type { CheckpointChoice, CheckpointRecord } from "../store/retention.ts";
import type { RunStore } from "../store/run_store.ts";
import { restoreCheckpoint } from "../train/checkpoint.ts";
import type { Outcome, Reporter, StopReason } from "../train/reporter.ts";
import {
  type DatasetUsed,
  datasetUsed,
  dimensionOf,
  type Embedding,
  embed,
  groupSize,
  labelsOf,
  openSession,
  type Session,
} from "../train/session.ts";
import { FileError } from "../util/errors.ts";
import { EVERYTHING, Journal, type Resumed, type Snapshot } from "./journal.ts";

/** Ends an evaluation where it was asked to stop. */
class Stopped extends Error {
  override name = "Stopped";
  constructor(readonly why: StopReason) {
    super(`stopped: ${why}`);
  }
}

/** What an evaluation is given besides its spec. */
export interface EvaluationContext {
  readonly pretrained: PretrainSpec;
  /** The pretraining run. */
  readonly source: RunStore;
  /** The evaluation's own run, for what it leaves. */
  readonly own: RunStore;
  readonly computing: Computing;
  readonly report: Reporter;
  /** Images that are embedded between two looks at whether to stop; unset: by how they are held. */
  readonly group?: number;
}

interface Common {
  dataset?: DatasetSpec | undefined;
  encoder: WhichEncoder;
  checkpoint: CheckpointChoice;
}

/** What every result says of where it comes from. */
export interface Provenance {
  /** Steps that the encoder was trained for. */
  step: number;
  /** SHA-256 of the backbone's parameters and statistics, the same before and after. */
  backbone: string;
  device: string;
  threads: number;
  seconds: number;
  dataset: DatasetUsed;
}

/** Throws FileError where there is none, naming those that there are. */
export async function checkpointOf(
  choice: CheckpointChoice,
  { source, report }: Pick<EvaluationContext, "source" | "report">,
): Promise<{ record: CheckpointRecord; bytes: Uint8Array }> {
  const found = await source.goodCheckpoint(choice, report.log);
  if (found) return found;
  const there = (await source.checkpoints()).map(
    ({ step, epoch }) => `step ${step}${epoch ? ` (epoch ${epoch})` : ""}`,
  );
  const wanted = typeof choice === "string" ? choice : JSON.stringify(choice);
  throw new FileError(source.path, `holds no good checkpoint ${wanted}; it has ${there.join(", ") || "none"}`);
}

/** Rows of labelled images. */
export interface LabelledRows extends Labelled {
  readonly dim: number;
}

export class Evaluation {
  private readonly startedAt = performance.now();
  private step = 0;
  /** Images that were embedded, trained on or fitted on so far, and in all; see `begin`. */
  private readonly tally = { images: 0, of: 0, begun: 0 };
  private epochs: { epoch: number; epochs: number; loss: number | null } = { epoch: 0, epochs: 0, loss: null };

  private constructor(
    readonly session: Session,
    private readonly context: EvaluationContext,
    private readonly common: Common,
    private readonly journal: Journal,
  ) {}

  /** Runs `work` over an open evaluation, and closes it whatever happens. */
  static async run<T>(
    common: Common,
    context: EvaluationContext,
    work: (evaluation: Evaluation) => Promise<T>,
  ): Promise<Outcome<T>> {
    const { pretrained, computing, report, own } = context;
    const session = await openSession(pretrained, { ...computing, context: report, dataset: common.dataset });
    try {
      const journal = await Journal.open(own, pretrained.checkpoint.everyMinutes, report.log);
      const evaluation = new Evaluation(session, context, common, journal);
      journal.identify(EVERYTHING, sha256(Buffer.from(JSON.stringify([common, datasetUsed(session.dataset)]))));
      journal.identify("untrained", evaluation.fingerprint());
      return { result: await work(evaluation) };
    } catch (error) {
      if (error instanceof Stopped) return { stopped: error.why };
      throw error;
    } finally {
      session.engine.close();
    }
  }

  /** Throws where someone asked to stop, for work that cannot be interrupted to write a checkpoint. */
  readonly pause = (): void => {
    const { report } = this.context;
    report.alive?.();
    const why = report.stopRequested();
    if (why) throw new Stopped(why);
  };

  /** A point at which the evaluation can be resumed: writes a checkpoint where one is due, or before it stops. */
  readonly turn = async (): Promise<void> => {
    const { report } = this.context;
    report.alive?.();
    this.tell();
    const why = report.stopRequested();
    if (why || this.journal.due) await this.journal.save(this.tally.images, true);
    if (why) throw new Stopped(why);
  };

  /** Writes a checkpoint of the fit that has come to its end, due or not. */
  async keep(): Promise<void> {
    await this.journal.save(this.tally.images, false);
  }

  get dataset(): Dataset {
    return this.session.dataset;
  }

  get classes(): number {
    return this.dataset.classes.length;
  }

  /** Training indices (never the held-out ones) and all test images. Throws FileError where labels are missing. */
  labelledParts(): { train: Int32Array; test: Images; everything: Int32Array } {
    const { dataset, parts } = this.session;
    const { test, train } = dataset;
    if (!test) throw new FileError(dataset.name, "this job needs test images: give spec.dataset.test");
    const everything = Int32Array.from({ length: test.count }, (_, i) => i);
    labelsOf(dataset, train, parts.train);
    labelsOf(dataset, test, everything);
    return { train: parts.train, test, everything };
  }

  /** Until this is called the encoder is the untrained one. Throws FileError where there is no checkpoint. */
  async restore(): Promise<void> {
    const found = await checkpointOf(this.common.checkpoint, this.context);
    const { model, engine } = this.session;
    this.step = restoreCheckpoint(found.bytes, found.record.file, model).step;
    if (this.common.encoder === "average") useAverage(model);
    engine.load();
  }

  /** SHA-256 of what the features depend on: main_lincls.py's sanity check, over every bit. */
  fingerprint(): string {
    const { model } = this.session;
    const bytes = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
    const [params, stats] = [trainedParams(model), trainedStats(model)];
    const parts = (layout: Layout, values: Float32Array) =>
      layout.entries
        .filter(({ part }) => part === "backbone")
        .map(({ offset, size }) => bytes(values.subarray(offset, offset + size)));
    return sha256(Buffer.concat([...parts(model.trained.params, params), ...parts(model.trained.stats, stats)]));
  }

  /** Runs `judge` on the restored encoder and proves that the backbone came out as it went in. */
  async onFrozen<T>(judge: () => Promise<T>): Promise<T & Provenance> {
    await this.restore();
    const backbone = this.fingerprint();
    // The pretrain job may have gone on since the checkpoint of this one.
    this.journal.identify("trained", backbone);
    const judged = await judge();
    if (this.fingerprint() !== backbone) throw new Error("the backbone changed while it was judged");
    return { ...judged, ...this.provenance(backbone) };
  }

  provenance(backbone: string): Provenance {
    const { device, threads } = this.session.engine;
    const seconds = (performance.now() - this.startedAt) / 1000;
    return { step: this.step, backbone, device, threads, seconds, dataset: datasetUsed(this.dataset) };
  }

  /**
   * States how much there is to do, before anything else.
   *
   * @param images - Images to be embedded or trained on; a fit on features that are kept counts each of its images once.
   */
  begin(images: number): void {
    this.tally.of = images;
    const found = this.journal.describe();
    if (found) this.context.report.log(`resuming after ${this.journal.images} of ${images} images: ${found}`);
  }

  /** Counts images that were dealt with. */
  advance(images: number): void {
    this.tally.images += images;
  }

  /** Notes where a fit is, for whoever follows the job. */
  fitting(epoch: number, epochs: number, loss: number | null = null): void {
    this.epochs = { epoch, epochs, loss };
  }

  /** What `work` yields, a JSON value, or has yielded in an earlier life. Its name begins with the encoder that it is of. */
  async part<T>(name: string, work: () => Promise<T>): Promise<T> {
    const known = this.journal.part(name);
    if (known) {
      this.skip(known.images);
      return known.value as T;
    }
    const before = this.tally.images;
    await this.turn();
    const value = await work();
    const { images } = this.tally;
    await this.journal.finishPart(name, { value, images: images - before }, images);
    this.tell();
    return value;
  }

  /** Features f32[N, F] of some images, which are computed on where an earlier life has stored some of them. */
  async features(name: string, images: Images, indices: Int32Array, embedding: Embedding, of = this.session) {
    const { group = groupSize(images), report } = this.context;
    const dim = dimensionOf(of, embedding);
    const begun = await this.journal.pieces.track(name, indices.length, dim, group);
    this.skip(begun.rows);
    let known = begun.rows;
    await this.turn();
    return embed(of, images, indices, embedding, {
      begun,
      group,
      stopping: report.stopping,
      turn: async (rows) => {
        this.journal.pieces.reach(name, rows);
        this.advance(rows - known);
        known = rows;
        await this.turn();
      },
    });
  }

  async labelled(name: string, images: Images, indices: Int32Array, embedding: Embedding): Promise<LabelledRows> {
    const labels = labelsOf(this.dataset, images, indices);
    const dim = dimensionOf(this.session, embedding);
    return { features: await this.features(name, images, indices, embedding), labels, dim };
  }

  /** The state that an earlier life has left of a fit. */
  resumed<P extends object>(name: string): Resumed<P> | undefined {
    return this.journal.resumed<P>(name);
  }

  /** From now on checkpoints hold the state of this fit, until `drop`. */
  hold(name: string, snapshot: () => Promise<Snapshot>): void {
    this.journal.hold(name, snapshot);
  }

  /** Forgets features and states that nothing needs any more. */
  drop(name: string): void {
    this.journal.drop(name);
  }

  /** Counts images that an earlier life has dealt with. */
  skip(images: number): void {
    this.tally.images += images;
    this.tally.begun += images;
  }

  private tell(): void {
    const { images, of, begun } = this.tally;
    const seconds = (performance.now() - this.startedAt) / 1000;
    const pace = images > begun ? (images - begun) / seconds : null;
    this.context.report.progress({
      ...this.epochs,
      step: images,
      steps: of,
      imagesPerSecond: pace,
      eta: pace && (of - images) / pace,
      knn: null,
      dataWait: 0,
      checkpointSeconds: this.journal.seconds,
      verdict: null,
    });
  }

  /** The baseline of raw pixels: the views themselves, of at most 32 pixels a side. */
  pixelEmbedding(): Embedding {
    const { train } = this.dataset;
    const side = isHeld(train) ? Math.min(train.height, train.width) : 32;
    return { what: "pixels", size: Math.min(32, side) };
  }
}
