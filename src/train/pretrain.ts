/** The pretraining loop. State is one value: init -> file -> state is exact, so resuming is the normal path. */
import type { DataContext } from "../data/types.ts";
import { judge, type Verdict } from "../evaluate/verdict.ts";
import { learningRate } from "../optim/schedule.ts";
import type { Progress } from "../spec/job.ts";
import { lint } from "../spec/lint.ts";
import type { PretrainSpec } from "../spec/pretrain.ts";
import type { CheckpointRecord, RunFolder } from "../store/run_folder.ts";
import { openBatches } from "./batches.ts";
import { encodeCheckpoint, restoreCheckpoint } from "./checkpoint.ts";
import { expectMemory } from "./footprint.ts";
import { queueAge, queueDrift, type Trainer, trainStep } from "./moco_step.ts";
import { gradientNorms, type Watched, watch } from "./monitor.ts";
import { type Computing, expectBatch, openSession, type Session } from "./session.ts";
import { type Position, resetSums, type StepMetrics, startPosition } from "./state.ts";

export interface Reporter extends DataContext {
  progress(progress: Progress): void;
  /** What is doubtful about the spec, now that the size of the dataset is known. */
  warnings?(warnings: string[]): void;
  /** Why to stop before the next step, or undefined. */
  stopRequested(): "cancel" | "shutdown" | undefined;
}

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
  checkpoint: CheckpointRecord;
}

export type PretrainOutcome = { stopped: "cancel" | "shutdown" } | { result: PretrainResult };

export async function pretrain(
  spec: PretrainSpec,
  folder: RunFolder,
  { threads, device }: Computing,
  report: Reporter,
): Promise<PretrainOutcome> {
  const session = await openSession(spec, { threads, device, context: report });
  try {
    expectBatch(session, spec.batchSize);
    if (session.engine.device === "wasm") await expectMemory(spec, session.dataset.train.channels, threads);
    report.warnings?.(lint(spec, session.parts.train.length).map(({ message }) => message));
    return await new Run(session, folder, report).loop();
  } finally {
    session.engine.close();
  }
}

/** One life of a run: from its last checkpoint to its end, or to where it is stopped. */
class Run {
  private readonly trainer: Trainer;
  private readonly spec: PretrainSpec;
  private readonly steps: number;
  private readonly position: Position;
  private readonly startStep: number;
  private record: CheckpointRecord | undefined;
  /** Steps whose metrics are known. */
  private known: number;
  private trainMs = 0;
  private watched: Watched = { knn: null, spread: null };
  private loss = Number.NaN;
  private verdict: Verdict | undefined;

  constructor(
    private readonly session: Session,
    private readonly folder: RunFolder,
    private readonly report: Reporter,
  ) {
    const { spec, model, engine, dataset, parts } = session;
    this.spec = spec;
    this.trainer = { model, engine, batches: openBatches(dataset.train, parts.train, spec) };
    this.steps = this.trainer.batches.stepsPerEpoch * spec.epochs;
    const found = folder.readCheckpoint(report.log);
    this.position = found
      ? restoreCheckpoint(found.bytes, found.record.file, spec, model.encoder, model.state)
      : startPosition();
    if (this.position.passes) engine.passes = this.position.passes;
    engine.load();
    this.known = this.position.step;
    this.record = found?.record;
    this.startStep = this.position.step;
    if (found) report.log(`resuming after step ${this.startStep} of ${this.steps}`);
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
          if (this.record?.step !== position.step) {
            this.absorb(await this.session.engine.settle());
            this.save();
          }
          return { stopped: stop };
        }
        await this.step(epoch);
      }
      await this.endEpoch(epoch);
    }
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
      checkpoint: this.record ?? this.save(),
    };
    return { result };
  }

  /** kNN of the untrained encoder: without it no later figure says anything. */
  private async baseline(): Promise<void> {
    if (this.spec.monitor.everyEpochs === 0) return;
    const watched = await watch(this.session);
    this.position.untrainedKnn = watched.knn;
    this.folder.appendMetrics({ epoch: 0, step: 0, ...watched } as { step: number });
  }

  private async step(epoch: number): Promise<void> {
    const before = performance.now();
    const known = await trainStep(this.trainer, this.spec, this.position);
    this.trainMs += performance.now() - before;
    this.absorb(known);
    if (known.length > 0) this.tell(epoch + 1);
  }

  /** Takes in the metrics of the steps that follow those known. Throws where a loss is not finite. */
  private absorb(metrics: readonly StepMetrics[]): void {
    const { sums } = this.position;
    for (const step of metrics) {
      this.known++;
      if (!Number.isFinite(step.loss)) {
        throw new Error(`the loss is ${step.loss} at step ${this.known}: lower spec.optimizer.lr`);
      }
      this.loss = step.loss;
      for (const name of Object.keys(sums) as (keyof StepMetrics)[]) sums[name] += step[name];
    }
  }

  private async endEpoch(epoch: number): Promise<void> {
    const { spec, position, session } = this;
    const { stepsPerEpoch } = this.trainer.batches;
    const { everyEpochs } = spec.monitor;
    const before = performance.now();
    this.absorb(await session.engine.settle());
    this.trainMs += performance.now() - before;
    const due = everyEpochs > 0 && ((epoch + 1) % everyEpochs === 0 || epoch + 1 === spec.epochs);
    const gradient = gradientNorms(session.model.encoder.params, session.model.buffers.gradient);
    const drift = due ? await queueDrift(this.trainer, spec, position) : null;
    if (due) this.watched = await watch(session);
    const mean = Object.fromEntries(
      Object.entries(position.sums).map(([name, sum]) => [name, sum / stepsPerEpoch]),
    ) as unknown as StepMetrics;
    this.loss = mean.loss;
    const { knn, spread } = due ? this.watched : { knn: null, spread: null };
    const { step, untrainedKnn } = position;
    this.verdict = judge(spec, { step, ...mean, knn, spread, untrainedKnn });
    this.folder.appendMetrics({
      epoch: epoch + 1,
      step,
      ...mean,
      // Of unit vectors: the mean squared distance of a query and its key (Wang and Isola 2020, eq. 3).
      alignment: 2 - 2 * mean.positive,
      lr: learningRate(spec.optimizer, (step - 1) / stepsPerEpoch, spec.epochs),
      gradient,
      queue: { ...queueAge(spec, step), drift },
      knn,
      spread,
      verdict: this.verdict.state,
    } as { step: number });
    resetSums(position);
    this.save();
    this.tell(epoch + 1);
  }

  private save(): CheckpointRecord {
    const { encoder, state } = this.session.model;
    const { passes } = this.session.engine;
    if (passes) this.position.passes = passes;
    const bytes = encodeCheckpoint(this.spec, encoder, state, this.position);
    this.record = this.folder.writeCheckpoint(this.position.step, bytes);
    return this.record;
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
      verdict: this.verdict ?? null,
    });
  }
}
