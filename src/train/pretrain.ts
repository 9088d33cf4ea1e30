/** The pretraining loop. State is one value: init -> file -> state is exact, so resuming is the normal path. */

import type { Computing } from "../engine/engine.ts";
import { figuresOf, type Position, type StepMetrics, startEpoch, startPosition } from "../engine/metrics.ts";
import { ringsOf, type TrainState } from "../engine/state.ts";
import { learningRate } from "../optim/schedule.ts";
import { expectMemory } from "../plan/footprint.ts";
import { lint } from "../schema/lint.ts";
import { type PretrainSpec, schemaOf } from "../schema/pretrain.ts";
import type { Verdict } from "../schema/verdict.ts";
import { type CheckpointRecord, type RunStore, START_FILE } from "../store/run_store.ts";
import type { TokenizerFile } from "../text/tokenizer.ts";
import { machineName, peakMemory } from "../util/machine.ts";
import { VERSION } from "../util/version.ts";
import { openBatches } from "./batches.ts";
import { checkpointTokenizer, restoreCheckpoint } from "./checkpoint.ts";
import { gradientNorms, type Watched, watch } from "./monitor.ts";
import { Publisher } from "./publisher.ts";
import { DivergedError, type Outcome, type Reporter } from "./reporter.ts";
import { gaugeRings } from "./rings.ts";
import { type DatasetUsed, datasetUsed, expectBatch, openSession, type Session } from "./session.ts";
import { beginFrom, readStart } from "./start.ts";
import { type Trainer, trainStep } from "./step.ts";
import { falseNegatives, openTexts, type TextsUsed, textsUsed, textsWarnings } from "./texts.ts";

/**
 * A step that takes longer than this cannot be waited for when the machine is being shut down: the state before it is
 * kept, a copy of less than a hundredth of the step's own time.
 */
export const LONG_STEP_MS = 4000;

export interface PretrainResult {
  epochs: number;
  steps: number;
  loss: number;
  knn: number | null;
  untrainedKnn: number | null;
  /** Null where this life of the run found it finished already: metrics.jsonl has the last epoch's. */
  verdict: Verdict | null;
  device: string;
  threads: number;
  imagesPerSecond: number;
  /** Share of the training time in which the threads waited for images. */
  dataWait: number;
  seconds: number;
  /** Most resident memory of the process, in bytes, since the run was last started; null where the system does not say. */
  peakMemory: number | null;
  /** Processors and memory that it was computed on, and the version of mocod. */
  machine: string;
  version: string;
  checkpoint: CheckpointRecord;
  dataset: DatasetUsed;
  /** Of a method on pairs of images and texts. */
  texts?: TextsUsed;
}

export type PretrainOutcome = Outcome<PretrainResult>;

export async function pretrain(
  spec: PretrainSpec,
  store: RunStore,
  { threads, device }: Computing,
  report: Reporter,
  longStepMs = LONG_STEP_MS,
): Promise<PretrainOutcome> {
  const tapes = (channels: number) => expectMemory(spec, channels, threads);
  const session = await openSession(spec, { threads, device, context: report, tapes });
  let publisher: Publisher | undefined;
  try {
    expectBatch(session, spec.batchSize);
    const { channels } = session.dataset.train;
    const found = await restore(session, store, report.log);
    const texts = openTexts(session, found.tokenizer);
    const doubts = lint(spec, session.parts.train.length).map(({ message }) => message);
    report.warnings?.([...doubts, ...textsWarnings(texts)]);
    await store.tidy(found.record?.step ?? 0);
    publisher = new Publisher(
      { storeUrl: store.blobs.url, runId: store.id, spec, channels, tokenizer: texts?.tokenizer.toJSON() },
      report.permit ?? (async () => undefined),
    );
    return await new Run(spec, { ...session, texts }, publisher, report, found, longStepMs).loop();
  } finally {
    publisher?.close();
    session.engine.close();
  }
}

interface Found {
  readonly position: Position;
  /** The checkpoint that the run resumes from; undefined: it starts. */
  readonly record: CheckpointRecord | undefined;
  /** Of a run on texts that has begun, or was forked. */
  readonly tokenizer: TokenizerFile | undefined;
}

/** Puts the last good checkpoint, or what the run was forked from, into the session's model. */
async function restore({ model, engine }: Session, store: RunStore, log: Reporter["log"]): Promise<Found> {
  const { spec } = model;
  const found = await store.goodCheckpoint("last", log);
  const start = found ? undefined : await readStart(store);
  const bytes = found?.bytes ?? start?.bytes;
  const tokenizer = bytes && checkpointTokenizer(bytes, found?.record.file ?? START_FILE);
  const position = found
    ? restoreCheckpoint(found.bytes, found.record.file, model)
    : start
      ? beginFrom(start, model)
      : startPosition(spec, Object.keys(ringsOf(spec)));
  if (start) log(`starting from ${start.from.id} after step ${start.from.step}, its ${start.keep}`);
  if (position.passes) engine.passes = position.passes;
  engine.load();
  return { position, record: found?.record, tokenizer };
}

/** One life of a run: from its last checkpoint to its end, or to where it is stopped. */
class Run {
  private readonly trainer: Trainer;
  private readonly steps: number;
  private readonly position: Position;
  private readonly startStep: number;
  /** Steps whose metrics are known. */
  private known: number;
  private trainMs = 0;
  private savedAt = performance.now();
  /** The state before the step in hand, where steps are long. */
  private before: { position: Position; state: TrainState } | undefined;
  private longStep = false;
  private watched: Watched = { knn: null, spread: null };
  private loss = Number.NaN;
  private verdict: Verdict | undefined;

  constructor(
    private readonly spec: PretrainSpec,
    private readonly session: Session,
    private readonly publisher: Publisher,
    private readonly report: Reporter,
    found: Found,
    private readonly longStepMs: number,
  ) {
    const { model, engine, dataset, parts, texts } = session;
    this.trainer = { model, engine, batches: openBatches(dataset.train, parts.train, spec), texts: texts?.table };
    this.steps = this.trainer.batches.stepsPerEpoch * spec.epochs;
    this.position = found.position;
    publisher.record = found.record;
    publisher.submitted = found.record?.step ?? -1;
    this.known = this.position.step;
    this.startStep = this.position.step;
    if (found.record) report.log(`resuming after step ${this.startStep} of ${this.steps}`);
  }

  async loop(): Promise<PretrainOutcome> {
    const startedAt = performance.now();
    const { position, spec, report } = this;
    const { stepsPerEpoch } = this.trainer.batches;
    if (position.step === 0) await this.baseline();
    while (position.step < this.steps) {
      const epoch = Math.floor(position.step / stepsPerEpoch);
      while (position.step < (epoch + 1) * stepsPerEpoch) {
        const stop = report.stopRequested();
        if (stop) {
          await this.stopHere();
          return { stopped: stop };
        }
        if (!(await this.step(epoch))) continue;
        const { everyMinutes } = spec.checkpoint;
        const due = everyMinutes > 0 && performance.now() - this.savedAt >= everyMinutes * 60_000;
        if (due && position.step % stepsPerEpoch !== 0) await this.save(null);
      }
      await this.endEpoch(epoch);
    }
    await this.publisher.drained();
    const { record } = this.publisher;
    if (!record) throw new Error("a run of no step was given");
    const result: PretrainResult = {
      epochs: spec.epochs,
      steps: this.steps,
      loss: this.loss,
      knn: this.watched.knn,
      untrainedKnn: position.untrainedKnn,
      verdict: this.verdict ?? null,
      device: this.session.engine.device,
      threads: this.session.engine.threads,
      imagesPerSecond: this.pace(),
      dataWait: this.dataWait(),
      seconds: (performance.now() - startedAt) / 1000,
      peakMemory: peakMemory(),
      machine: machineName(),
      version: VERSION,
      checkpoint: record,
      dataset: datasetUsed(this.session.dataset),
      ...(this.session.texts && { texts: textsUsed(this.session.texts) }),
    };
    return { result };
  }

  /** kNN of the untrained encoder: without it no later figure says anything. */
  private async baseline(): Promise<void> {
    if (this.spec.monitor.everyEpochs === 0) return;
    const watched = await watch(this.session);
    this.position.untrainedKnn = watched.knn;
    await this.publisher.submit({ metrics: { epoch: 0, step: 0, ...watched } as { step: number } });
  }

  /** False where the step was given up because the run was stopped during a long step. */
  private async step(epoch: number): Promise<boolean> {
    const { session, position, report } = this;
    if (this.longStep) {
      const state = this.publisher.snapshot(session.model.state);
      this.before = { position: structuredClone(position), state };
    }
    const startedAt = performance.now();
    const step = trainStep(this.trainer, position);
    if (this.before && report.stopping) {
      const givenUp = await Promise.race([step.then(() => false), report.stopping.then(() => true)]);
      if (givenUp) return false;
    }
    const known = await step;
    const ms = performance.now() - startedAt;
    if (this.before) this.publisher.recycle(this.before.state);
    this.before = undefined;
    this.longStep = ms > this.longStepMs && session.engine.device === "wasm";
    this.trainMs += ms;
    this.absorb(known);
    report.alive?.();
    if (known.length > 0) this.tell(epoch + 1);
    return true;
  }

  /** Takes in the metrics of the steps that follow those known. Throws DivergedError where a loss is not finite. */
  private absorb(metrics: readonly StepMetrics[]): void {
    const { sums, series } = this.position;
    for (const step of metrics) {
      this.known++;
      const { loss } = step as { loss: number };
      if (!Number.isFinite(loss)) throw new DivergedError(this.advice(loss));
      this.loss = loss;
      series.push(figuresOf(this.spec).map((name) => step[name] as number));
      for (const name of Object.keys(sums)) sums[name] = (sums[name] as number) + (step[name] as number);
    }
  }

  private advice(loss: number): string {
    const { optimizer, precision } = this.spec;
    const { stepsPerEpoch } = this.trainer.batches;
    const rate = learningRate(optimizer, (this.known - 1) / stepsPerEpoch, this.spec.epochs);
    const tries = [
      `a lower spec.optimizer.lr (${optimizer.lr}, at this step ${rate.toPrecision(3)})`,
      ...(optimizer.warmup === 0 ? ["some epochs of spec.optimizer.warmup (0)"] : []),
      ...(precision === "mixed" ? ['spec.precision "float32"'] : []),
    ];
    const kept = this.publisher.submitted;
    const from = kept >= 0 ? `fork the run from its checkpoint of step ${kept} with` : "submit it again with";
    return `the loss is ${loss} at step ${this.known} of ${this.steps}; ${from} ${tries.join(", or ")}`;
  }

  private async endEpoch(epoch: number): Promise<void> {
    const { spec, position, session } = this;
    const { texts } = session;
    const { stepsPerEpoch } = this.trainer.batches;
    const { everyEpochs } = spec.monitor;
    const before = performance.now();
    this.absorb(await session.engine.settle());
    this.trainMs += performance.now() - before;
    const lines = this.stepLines(epoch);
    const due = everyEpochs > 0 && ((epoch + 1) % everyEpochs === 0 || epoch + 1 === spec.epochs);
    const gradient = gradientNorms(session.model.trained.params, session.model.buffers.gradient);
    const rings = await gaugeRings(this.trainer, position, due);
    if (due) this.watched = await watch(session);
    const mean = Object.fromEntries(Object.entries(position.sums).map(([name, sum]) => [name, sum / stepsPerEpoch]));
    const { loss, ...metricsOfStep } = mean as Record<string, number> & { loss: number };
    this.loss = loss;
    const { knn, spread, recall } = due ? this.watched : { knn: null, spread: null };
    const { step, untrainedKnn } = position;
    const schema = schemaOf(spec.method);
    const past = schema.watchesGradient ? this.past() : {};
    const progress = (epoch + 0.5) / spec.epochs;
    const evidence = { step, progress, loss, metrics: metricsOfStep, knn, spread, untrainedKnn, ...past };
    this.verdict = schema.judge(spec, evidence);
    if (schema.watchesGradient && knn !== null) position.bestKnn = Math.max(knn, position.bestKnn ?? 0);
    const metrics = {
      epoch: epoch + 1,
      step,
      ...mean,
      // Of unit vectors: the mean squared distance of a positive pair (Wang and Isola 2020, eq. 3).
      ...("positive" in mean ? { alignment: 2 - 2 * (mean.positive as number) } : {}),
      lr: learningRate(spec.optimizer, (step - 1) / stepsPerEpoch, spec.epochs),
      gradient,
      ...rings,
      knn,
      spread,
      ...(recall && { recall }),
      ...(texts && { falseNegatives: falseNegatives(this.trainer.batches, texts, spec, epoch) }),
      verdict: this.verdict.state,
    };
    startEpoch(position, spec);
    const steps = { epoch: epoch + 1, lines };
    const last = epoch + 1 === spec.epochs;
    if (last || (epoch + 1) % spec.checkpoint.everyEpochs === 0) await this.save(epoch + 1, { metrics, steps }, knn);
    else await this.publisher.submit({ metrics, steps });
    this.tell(epoch + 1);
  }

  /** The best kNN of earlier epochs, and each figure's series in the one that has ended. */
  private past() {
    const { series, bestKnn = null } = this.position;
    const named = figuresOf(this.spec).map((name, i) => [name, series.map((figures) => figures[i] as number)]);
    return { bestKnn, series: Object.fromEntries(named) as Record<string, number[]> };
  }

  /** One object a step of the epoch that has ended. */
  private stepLines(epoch: number): object[] {
    const { spec, position } = this;
    const { stepsPerEpoch } = this.trainer.batches;
    const first = position.step - position.series.length;
    const names = figuresOf(spec);
    return position.series.map((figures, i) => ({
      epoch: epoch + 1,
      step: first + i + 1,
      ...Object.fromEntries(names.map((name, figure) => [name, figures[figure]])),
      lr: learningRate(spec.optimizer, (first + i) / stepsPerEpoch, spec.epochs),
    }));
  }

  /** Hands a snapshot to the publisher, after the metrics of the epoch if one has ended. */
  private async save(epoch: number | null, metrics: object = {}, knn: number | null = null): Promise<void> {
    const { engine, model } = this.session;
    this.absorb(await engine.settle());
    if (engine.passes) this.position.passes = engine.passes;
    const at = this.before ?? { position: structuredClone(this.position), state: this.publisher.snapshot(model.state) };
    const of = { step: at.position.step, epoch, knn };
    await this.publisher.submit({ ...metrics, checkpoint: { of, ...at } });
    this.savedAt = performance.now();
  }

  /** Leaves a checkpoint of where the run stands, unless there is one. */
  private async stopHere(): Promise<void> {
    const position = this.before?.position ?? this.position;
    if (this.publisher.submitted !== position.step) await this.save(null);
    await this.publisher.drained();
  }

  /** Images a second. */
  private pace(): number {
    return this.trainMs > 0 ? ((this.position.step - this.startStep) * this.spec.batchSize * 1000) / this.trainMs : 0;
  }

  private dataWait(): number {
    return this.trainMs > 0 ? this.trainer.batches.source.waitedMs / this.trainMs : 0;
  }

  private tell(epoch: number): void {
    const { step } = this.position;
    const pace = this.pace();
    this.report.progress({
      epoch,
      epochs: this.spec.epochs,
      step,
      steps: this.steps,
      loss: Number.isFinite(this.loss) ? this.loss : null,
      imagesPerSecond: pace || null,
      eta: pace ? ((this.steps - step) * this.spec.batchSize) / pace : null,
      knn: this.watched.knn,
      dataWait: this.dataWait(),
      checkpointSeconds: this.publisher.seconds,
      verdict: this.verdict ?? null,
    });
  }
}
