/** One step of MoCo: which images, which rate; and what can be said of the queue. The engine does the rest. */

import type { Engine } from "../engine/engine.ts";
import { directionsOf, type Model, type Position, type StepMetrics } from "../engine/state.ts";
import { learningRate } from "../optim/schedule.ts";
import { keysPerStep, type PretrainSpec } from "../schema/pretrain.ts";
import { Stream } from "../util/random.ts";
import type { Batches } from "./batches.ts";

export interface Trainer {
  readonly model: Model;
  readonly engine: Engine;
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
 * Trains on the batch at `position` and moves it on. Gives the metrics of the steps that have become known, this one's
 * perhaps later. Throws when a loss is not finite.
 */
export async function trainStep(trainer: Trainer, spec: PretrainSpec, position: Position): Promise<StepMetrics[]> {
  const { engine, batches } = trainer;
  const { step, queuePointer } = position;
  const epoch = Math.floor(step / batches.stepsPerEpoch);
  const lr = learningRate(spec.optimizer, step / batches.stepsPerEpoch, spec.epochs);
  await deal(trainer, spec, step);
  const known = await engine.train({ step, epoch, pixels: batches.source.pixels, lr, queuePointer });
  position.queuePointer = (queuePointer + keysPerStep(spec)) % spec.queueSize;
  position.step++;
  return known;
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
  const { model, engine, batches } = trainer;
  const { buffers, state } = model;
  const perStep = directionsOf(spec) * spec.batchSize;
  const ago = Math.floor(spec.queueSize / perStep);
  const step = position.step - ago;
  if (step < 0) return null;
  await deal(trainer, spec, step);
  const epoch = Math.floor(step / batches.stepsPerEpoch);
  await engine.encodeKeys({ step, epoch, pixels: batches.source.pixels });
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
