/** The pretraining loop. State is one value: init -> file -> state is exact, so resuming is the normal path. */
import type { DataContext } from "../data/types.ts";
import { knn } from "../evaluate/knn.ts";
import { enqueue } from "../methods/moco.ts";
import { learningRate } from "../optim/schedule.ts";
import type { Progress } from "../spec/job.ts";
import type { PretrainSpec } from "../spec/pretrain.ts";
import type { CheckpointRecord, RunFolder } from "../store/run_folder.ts";
import { Stream } from "../util/random.ts";
import { encodeCheckpoint, restoreCheckpoint } from "./checkpoint.ts";
import { labelled, openSession, type Session } from "./session.ts";
import { type Position, startPosition } from "./state.ts";

export interface Reporter extends DataContext {
  progress(progress: Progress): void;
  /** Why to stop before the next step, or undefined. */
  stopRequested(): "cancel" | "shutdown" | undefined;
}

export interface PretrainResult {
  epochs: number;
  steps: number;
  loss: number;
  knn: number | null;
  device: string;
  threads: number;
  imagesPerSecond: number;
  seconds: number;
  checkpoint: CheckpointRecord;
}

export type PretrainOutcome = { stopped: "cancel" | "shutdown" } | { result: PretrainResult };

/** One step of MoCo over the batch at `position`. Returns the loss and (K+1)-way top-1. */
export async function trainStep(
  { model, pool, parts }: Session,
  spec: PretrainSpec,
  position: Position,
  stepsPerEpoch: number,
  order: Int32Array,
): Promise<{ loss: number; top1: number }> {
  const { buffers, state, slots } = model;
  const epoch = Math.floor(position.step / stepsPerEpoch);
  const first = (position.step % stepsPerEpoch) * spec.batchSize;
  for (let i = 0; i < spec.batchSize; i++) buffers.batch[i] = parts.train[order[first + i] as number] as number;
  const shuffle = new Stream(spec.seed, "shuffle", position.step).permutation(spec.batchSize);
  buffers.shuffle.set(spec.shuffle ? shuffle : shuffle.sort());

  await pool.run({ kind: "momentum" });
  await pool.run({ kind: "keys", epoch });
  for (let from = 0; from < spec.splits; from += slots) {
    const to = Math.min(spec.splits, from + slots);
    await pool.run({ kind: "queries", epoch, from, to }, from);
    await pool.run({ kind: "reduce", from, to });
  }
  await pool.run({ kind: "update", lr: learningRate(spec.optimizer, epoch, spec.epochs) });
  position.queuePointer = enqueue(state.queue, buffers.keys, position.queuePointer, spec.dim);
  position.step++;

  let loss = 0;
  let top1 = 0;
  for (let s = 0; s < spec.splits; s++) {
    loss += (buffers.metrics[s * 2] as number) / spec.splits;
    top1 += (buffers.metrics[s * 2 + 1] as number) / spec.splits;
  }
  if (!Number.isFinite(loss)) {
    throw new Error(`the loss is ${loss} at step ${position.step} (epoch ${epoch + 1}): lower spec.optimizer.lr`);
  }
  return { loss, top1 };
}

/** Top-1 of the kNN vote on the held-out images; null where there are no labels. */
async function monitor(session: Session, spec: PretrainSpec): Promise<number | null> {
  const { dataset, parts, model } = session;
  if (!dataset.train.labels || parts.holdout.length === 0) return null;
  const what = spec.monitor.features;
  const dim = what === "backbone" ? model.encoder.features : spec.dim;
  const bank = await labelled(session, what, dim, dataset.train, parts.train.slice(0, spec.monitor.bank));
  const queries = await labelled(session, what, dim, dataset.train, parts.holdout);
  return knn(bank, queries, dim, dataset.classes.length, spec.monitor);
}

export async function pretrain(
  spec: PretrainSpec,
  folder: RunFolder,
  threads: number,
  report: Reporter,
): Promise<PretrainOutcome> {
  const session = await openSession(spec, threads, report);
  try {
    return await loop(session, spec, folder, threads, report);
  } finally {
    session.pool.close();
  }
}

async function loop(
  session: Session,
  spec: PretrainSpec,
  folder: RunFolder,
  threads: number,
  report: Reporter,
): Promise<PretrainOutcome> {
  const { encoder, state } = session.model;
  const stepsPerEpoch = Math.floor(session.parts.train.length / spec.batchSize);
  const steps = stepsPerEpoch * spec.epochs;
  const found = folder.readCheckpoint(report.log);
  const position: Position = found
    ? restoreCheckpoint(found.bytes, found.record.file, spec, encoder, state)
    : { ...startPosition };
  if (found) report.log(`resuming after step ${position.step} of ${steps}`);
  let record = found?.record;
  const save = () => {
    record = folder.writeCheckpoint(position.step, encodeCheckpoint(spec, encoder, state, position));
    return record;
  };

  const startStep = position.step;
  const startedAt = performance.now();
  let trainSeconds = 0;
  let loss = Number.NaN;
  let accuracy: number | null = null;
  const pace = () => ((position.step - startStep) * spec.batchSize) / trainSeconds;
  const progress = (epoch: number): Progress => ({
    epoch,
    epochs: spec.epochs,
    step: position.step,
    steps,
    loss: Number.isFinite(loss) ? loss : null,
    imagesPerSecond: trainSeconds > 0 ? pace() : null,
    eta: trainSeconds > 0 ? ((steps - position.step) * spec.batchSize) / pace() : null,
    knn: accuracy,
  });

  while (position.step < steps) {
    const epoch = Math.floor(position.step / stepsPerEpoch);
    const order = new Stream(spec.seed, "order", epoch).permutation(session.parts.train.length);
    while (position.step < (epoch + 1) * stepsPerEpoch) {
      const stop = report.stopRequested();
      if (stop) {
        if (record?.step !== position.step) save();
        return { stopped: stop };
      }
      const before = performance.now();
      const step = await trainStep(session, spec, position, stepsPerEpoch, order);
      trainSeconds += (performance.now() - before) / 1000;
      loss = step.loss;
      position.epochLoss += step.loss;
      position.epochTop1 += step.top1;
      report.progress(progress(epoch + 1));
    }
    const { everyEpochs } = spec.monitor;
    const watch = everyEpochs > 0 && ((epoch + 1) % everyEpochs === 0 || epoch + 1 === spec.epochs);
    accuracy = watch ? await monitor(session, spec) : accuracy;
    loss = position.epochLoss / stepsPerEpoch;
    const line = { epoch: epoch + 1, step: position.step, loss, top1: position.epochTop1 / stepsPerEpoch };
    folder.appendMetrics({
      ...line,
      lr: learningRate(spec.optimizer, epoch, spec.epochs),
      knn: watch ? accuracy : null,
    } as { step: number });
    position.epochLoss = 0;
    position.epochTop1 = 0;
    save();
    report.progress(progress(epoch + 1));
  }

  const result: PretrainResult = {
    epochs: spec.epochs,
    steps,
    loss,
    knn: accuracy,
    device: "wasm",
    threads,
    imagesPerSecond: trainSeconds > 0 ? pace() : 0,
    seconds: (performance.now() - startedAt) / 1000,
    checkpoint: record ?? save(),
  };
  return { result };
}
