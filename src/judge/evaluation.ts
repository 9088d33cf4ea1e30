/** What the jobs on a pretrained encoder share: its session, its weights, its images, its baselines. */
import { type Dataset, type Images, isHeld } from "../data/types.ts";
import { useAverage } from "../engine/state.ts";
import type { Labelled } from "../evaluate/knn.ts";
import type { DatasetSpec } from "../schema/dataset.ts";
import type { WhichEncoder } from "../schema/evaluation.ts";
import { sha256 } from "../store/files.ts";
import type { CheckpointChoice } from "../store/retention.ts";
import type { TokenTable } from "../text/table.ts";
import { openTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import { checkpointTokenizer, restoreCheckpoint } from "../train/checkpoint.ts";
import type { Outcome, StopReason } from "../train/reporter.ts";
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
import { embedTexts, expectTextEncoder, TEXTS, tableOf } from "../train/texts.ts";
import { FileError } from "../util/errors.ts";
import { checkpointOf, type EvaluationContext } from "./context.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { EVERYTHING, Journal } from "./journal.ts";
import { Tally } from "./tally.ts";

/** Ends an evaluation where it was asked to stop. */
class Stopped extends Error {
  override name = "Stopped";
  constructor(readonly why: StopReason) {
    super(`stopped: ${why}`);
  }
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

/** Rows of labelled images. */
export interface LabelledRows extends Labelled {
  readonly dim: number;
}

export class Evaluation {
  private step = 0;
  private tokenizer: Tokenizer | undefined;
  readonly tally = new Tally();

  private constructor(
    readonly session: Session,
    private readonly context: EvaluationContext,
    private readonly common: Common,
    readonly journal: Journal,
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
    const tokenizer = checkpointTokenizer(found.bytes, found.record.file);
    this.tokenizer = tokenizer && openTokenizer(tokenizer);
    if (this.common.encoder === "average") useAverage(model);
    engine.load();
  }

  /** Tokens of some texts, by the restored tokenizer. Throws UserError where the method has no text tower. */
  tokens(texts: readonly string[]): TokenTable {
    const { spec } = this.session;
    expectTextEncoder(spec);
    if (!this.tokenizer) throw new Error("texts are encoded after the encoder is restored");
    return tableOf(texts, this.tokenizer, spec);
  }

  /** Features f32[M, dim] of the texts of a table by the restored text tower, of which an earlier life may have stored some. */
  async textFeatures(name: string, table: TokenTable): Promise<Float32Array> {
    const { dim } = this.session.model.trained;
    const begun = await this.journal.pieces.track(name, table.lengths.length, dim, TEXTS);
    return embedTexts(this.session, table, {
      begun,
      turn: async (rows) => {
        this.journal.pieces.reach(name, rows);
        await this.turn();
      },
    });
  }

  fingerprint(): string {
    return fingerprintOf(this.session.model);
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
    const { seconds } = this.tally;
    return { step: this.step, backbone, device, threads, seconds, dataset: datasetUsed(this.dataset) };
  }

  /** States how much there is to do, before anything else: see `Tally`. */
  begin(images: number): void {
    this.tally.of = images;
    const found = this.journal.describe();
    if (found) this.context.report.log(`resuming after ${this.journal.images} of ${images} images: ${found}`);
  }

  /** What `work` yields, a JSON value, or has yielded in an earlier life. Its name begins with the encoder that it is of. */
  async part<T>(name: string, work: () => Promise<T>): Promise<T> {
    const known = this.journal.part(name);
    if (known) {
      this.tally.skip(known.images);
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
    this.tally.skip(begun.rows);
    let known = begun.rows;
    await this.turn();
    return embed(of, images, indices, embedding, {
      begun,
      group,
      stopping: report.stopping,
      turn: async (rows) => {
        this.journal.pieces.reach(name, rows);
        this.tally.advance(rows - known);
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

  private tell(): void {
    this.context.report.progress({ ...this.tally.progress(), checkpointSeconds: this.journal.seconds });
  }

  /** The baseline of raw pixels: the views themselves, of at most 32 pixels a side. */
  pixelEmbedding(): Embedding {
    const { train } = this.dataset;
    const side = isHeld(train) ? Math.min(train.height, train.width) : 32;
    return { what: "pixels", size: Math.min(32, side) };
  }
}
