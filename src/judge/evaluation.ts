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
  labelled,
  labelsOf,
  openSession,
  type Session,
} from "../train/session.ts";
import { FileError } from "../util/errors.ts";

/** Ends an evaluation between two of its parts; it starts anew when run again. */
export class Stopped extends Error {
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

export class Evaluation {
  private readonly startedAt = performance.now();
  private step = 0;

  private constructor(
    readonly session: Session,
    private readonly context: EvaluationContext,
    private readonly common: Common,
  ) {}

  /** Runs `work` over an open evaluation, and closes it whatever happens. */
  static async run<T>(
    common: Common,
    context: EvaluationContext,
    work: (evaluation: Evaluation) => Promise<T>,
  ): Promise<Outcome<T>> {
    const { pretrained, computing, report } = context;
    const session = await openSession(pretrained, { ...computing, context: report, dataset: common.dataset });
    try {
      return { result: await work(new Evaluation(session, context, common)) };
    } catch (error) {
      if (error instanceof Stopped) return { stopped: error.why };
      throw error;
    } finally {
      session.engine.close();
    }
  }

  /** Throws Stopped where someone asked for it. */
  readonly pause = (): void => {
    this.context.report.alive?.();
    const why = this.context.report.stopRequested();
    if (why) throw new Stopped(why);
  };

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
    const judged = await judge();
    if (this.fingerprint() !== backbone) throw new Error("the backbone changed while it was judged");
    return { ...judged, ...this.provenance(backbone) };
  }

  provenance(backbone: string): Provenance {
    const { device, threads } = this.session.engine;
    const seconds = (performance.now() - this.startedAt) / 1000;
    return { step: this.step, backbone, device, threads, seconds, dataset: datasetUsed(this.dataset) };
  }

  async labelled(images: Images, indices: Int32Array, embedding: Embedding): Promise<Labelled & { dim: number }> {
    this.pause();
    const dim = dimensionOf(this.session, embedding);
    return { ...(await labelled(this.session, images, indices, embedding)), dim };
  }

  /** The baseline of raw pixels: the views themselves, of at most 32 pixels a side. */
  pixelEmbedding(): Embedding {
    const { train } = this.dataset;
    const side = isHeld(train) ? Math.min(train.height, train.width) : 32;
    return { what: "pixels", size: Math.min(32, side) };
  }
}

/** How one of several settings did on the validation split; null where there was nothing to choose. */
export interface Validated {
  readonly validation: number | null;
}

/** The setting that did best, the first one among equals. */
export const bestOf = <T extends Validated>(tried: readonly T[]): T =>
  tried.reduce((a, b) => ((b.validation ?? 0) > (a.validation ?? 0) ? b : a));

/** Every pair of a rate and a weight decay. */
export const gridOf = (spec: { lr: readonly number[]; weightDecay: readonly number[] }) =>
  spec.lr.flatMap((lr) => spec.weightDecay.map((weightDecay) => ({ lr, weightDecay })));

/** How many of `count` to fit on where a `share` is kept to choose by, which is at least one. */
export const fitCount = (count: number, share: number): number => count - Math.max(1, Math.round(share * count));

/** Parts training rows into those to fit on and those to choose on: the last `share` of an order that is random. */
export function carve(rows: Labelled, dim: number, share: number): { fit: Labelled; choose: Labelled } {
  const count = rows.labels.length;
  const cut = fitCount(count, share);
  const part = (from: number, to: number): Labelled => ({
    features: rows.features.subarray(from * dim, to * dim),
    labels: rows.labels.subarray(from, to),
  });
  return { fit: part(0, cut), choose: part(cut, count) };
}
