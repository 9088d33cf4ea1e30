/** One step of MoCo over threads, in the reference's order; a barrier between any two lines that end in `run`. */
import { enqueue } from "../methods/moco.ts";
import { learningRate } from "../optim/schedule.ts";
import { keysPerStep, type PretrainSpec } from "../spec/pretrain.ts";
import { Stream } from "../util/random.ts";
import type { Batches } from "./batches.ts";
import type { Pool } from "./pool.ts";
import { directionsOf, METRICS, type Model, type Position, type StepMetrics, unitsOf } from "./state.ts";

export interface Trainer {
  readonly model: Model;
  readonly pool: Pool;
  readonly batches: Batches;
}

/** Puts the batch of `step` and its shuffling into the buffers. */
async function deal({ model, batches }: Trainer, spec: PretrainSpec, step: number): Promise<void> {
  const { buffers } = model;
  await batches.source.at(step, buffers.places);
  buffers.batch.set(batches.indices(step));
  for (let direction = 0; direction < directionsOf(spec); direction++) {
    const order = new Stream(spec.seed, "shuffle", step, direction).permutation(spec.batchSize);
    buffers.shuffle.set(spec.shuffle ? order : order.sort(), direction * spec.batchSize);
  }
}

/**
 * Trains on the batch at `position` and moves it on. Throws when the loss is not finite.
 * With the symmetric loss the keys of view 0 are enqueued before those of view 1, as the CIFAR demo does.
 */
export async function trainStep(trainer: Trainer, spec: PretrainSpec, position: Position): Promise<StepMetrics> {
  const { model, pool, batches } = trainer;
  const { buffers, state, slots } = model;
  const epoch = Math.floor(position.step / batches.stepsPerEpoch);
  const { pixels } = batches.source;
  const units = unitsOf(spec);
  await deal(trainer, spec, position.step);
  await pool.run({ kind: "momentum" });
  await pool.run({ kind: "keys", epoch, pixels });
  for (let from = 0; from < units; from += slots) {
    const to = Math.min(units, from + slots);
    await pool.run({ kind: "queries", epoch, pixels, from, to }, from);
    await pool.run({ kind: "reduce", from, to });
  }
  const lr = learningRate(spec.optimizer, position.step / batches.stepsPerEpoch, spec.epochs);
  await pool.run({ kind: "update", lr, step: position.step });
  for (let direction = directionsOf(spec) - 1; direction >= 0; direction--) {
    const size = spec.batchSize * spec.dim;
    const keys = buffers.keys.subarray(direction * size, (direction + 1) * size);
    const queue = { keys: state.queue, ids: state.queueIds };
    position.queuePointer = enqueue(queue, keys, buffers.batch, position.queuePointer);
  }
  position.step++;

  // Summed over directions, as the loss is; the others are means.
  const [loss, top1, positive, negative] = Array.from({ length: METRICS }, (_, metric) => {
    let sum = 0;
    for (let unit = 0; unit < units; unit++) sum += buffers.metrics[unit * METRICS + metric] as number;
    return sum / (metric === 0 ? spec.splits : units);
  }) as [number, number, number, number];
  if (!Number.isFinite(loss)) {
    throw new Error(`the loss is ${loss} at step ${position.step} (epoch ${epoch + 1}): lower spec.optimizer.lr`);
  }
  return { loss, top1, positive, negative };
}

/** Age of the oldest key in steps, and the share of the queue that is still random vectors. The queue is a FIFO. */
export function queueAge(spec: PretrainSpec, step: number): { oldest: number; random: number } {
  const refresh = spec.queueSize / keysPerStep(spec);
  return { oldest: Math.min(step, Math.ceil(refresh)), random: Math.max(0, 1 - step / refresh) };
}

/**
 * Drift of the queue: mean cosine between the keys of its oldest whole batch, as they are stored, and the keys that
 * the key encoder gives now for the same views of the same images in the same company. Null while the queue holds
 * random vectors. Costs the key half of a step.
 */
export async function queueDrift(trainer: Trainer, spec: PretrainSpec, position: Position): Promise<number | null> {
  const { model, pool, batches } = trainer;
  const { buffers, state } = model;
  const perStep = directionsOf(spec) * spec.batchSize;
  const ago = Math.floor(spec.queueSize / perStep);
  const step = position.step - ago;
  if (step < 0) return null;
  await deal(trainer, spec, step);
  const epoch = Math.floor(step / batches.stepsPerEpoch);
  await pool.run({ kind: "keys", epoch, pixels: batches.source.pixels });
  let sum = 0;
  for (let i = 0; i < perStep; i++) {
    // Stored with the last direction first, see trainStep.
    const direction = directionsOf(spec) - 1 - Math.floor(i / spec.batchSize);
    const slot = (position.queuePointer + spec.queueSize - ago * perStep + i) % spec.queueSize;
    const now = (direction * spec.batchSize + (i % spec.batchSize)) * spec.dim;
    for (let c = 0; c < spec.dim; c++) {
      sum += (state.queue[slot * spec.dim + c] as number) * (buffers.keys[now + c] as number);
    }
  }
  return sum / perStep;
}
