/** After the gradients: their sum in a fixed order, the optimiser, running statistics, moving averages. */
import * as tf from "@tensorflow/tfjs-core";
import { floatsOf as floatsOfTensor } from "../../backend/wasm.ts";
import { isDecayed } from "../../nn/layout.ts";
import { momentumUpdate } from "../../optim/average/index.ts";
import { clamp } from "../../optim/clamp/index.ts";
import { clipFactor, squaresOf } from "../../optim/clip/index.ts";
import { optimisers } from "../../optim/optimiser.ts";
import { BATCH_NORM_MOMENTUM, runningStatistics } from "../../optim/running/index.ts";
import { expectShape } from "../../util/errors.ts";
import { blockNames, floatsOf, statesOf } from "../state.ts";
import { directionsOf, targetView, unitsOf, viewAt, viewsOf } from "../units.ts";
import { stateTensor, type ThreadContext } from "./context.ts";
import type { Task } from "./tasks.ts";

/**
 * gradient += the slots of units [from, to), one after another: the same bits for any number of threads. After the last
 * one, a loss that is a mean over rows has the mean over the splits, summed over the directions.
 */
export function reduceGradients(
  { buffers, spec, range, method, networks }: ThreadContext,
  from: number,
  to: number,
): void {
  const { gradient, unitGradients } = buffers;
  if (from === 0) gradient.fill(0, range.from, range.to);
  for (let slot = 0; slot < to - from; slot++) {
    const base = slot * gradient.length;
    for (let i = range.from; i < range.to; i++) {
      gradient[i] = (gradient[i] as number) + (unitGradients[base + i] as number);
    }
  }
  if (to < unitsOf(spec)) return;
  if (method.couples === "batch") {
    const first = networks.get(networks.trained).params.size - buffers.ownGradient.length;
    for (let i = Math.max(first, range.from); i < range.to; i++) gradient[i] = buffers.ownGradient[i - first] as number;
    return;
  }
  for (let i = range.from; i < range.to; i++) gradient[i] = (gradient[i] as number) / spec.splits;
}

/** The sum of squares of each tensor's gradient, which threads take in turn: their sum is the same for any number of them. */
export function squareGradients({ buffers, networks, take }: ThreadContext): void {
  const { entries } = networks.get(networks.trained).params;
  take(entries.length, (index) => {
    const { offset, size } = entries[index] as (typeof entries)[number];
    buffers.squares[index] = squaresOf(buffers.gradient, { from: offset, to: offset + size });
  });
}

/** Moves this thread's share of a follower towards the trained network. */
export function follow({ state, networks, thread, threads }: ThreadContext, network: string, m: number): void {
  const own = floatsOf(state, blockNames.params(network));
  const trained = floatsOf(state, blockNames.params(networks.trained));
  const bound = (of: number) => Math.floor((own.length * of) / threads);
  momentumUpdate(own, trained, m, { from: bound(thread), to: bound(thread + 1) });
}

/** One step of the optimiser on this thread's share, and (the first thread) the running statistics. */
export function updateParams(context: ThreadContext, task: Extract<Task, { kind: "update" }>): void {
  const { state, buffers, spec, networks, range, thread } = context;
  const { algorithm, clip: most, decayBiases, ...settings } = spec.optimizer;
  const clip = most === undefined ? 1 : clipFactor(buffers.squares, most);
  const optimiser = optimisers[algorithm];
  const tensors = {
    params: floatsOf(state, blockNames.params(networks.trained)),
    first: floatsOf(state, blockNames.first),
    second: optimiser.second ? floatsOf(state, blockNames.second) : new Float32Array(0),
    gradient: buffers.gradient,
  };
  const { entries } = networks.get(networks.trained).params;
  const update = (index: number, from: number, to: number) => {
    const lr = task.lr * (task.scale?.[index] ?? 1);
    const entry = entries[index] as (typeof entries)[number];
    const weightDecay = isDecayed(entry, decayBiases) ? task.weightDecay : 0;
    optimiser.update(tensors, { from, to }, { ...settings, lr, weightDecay, clip, step: task.step }, entry.decay);
    if (entry.range) clamp(tensors.params, { from, to }, entry.range);
  };
  if (optimiser.whole) {
    context.take(entries.length, (index) => {
      const { offset, size } = entries[index] as (typeof entries)[number];
      update(index, offset, offset + size);
    });
  } else {
    entries.forEach(({ offset, size }, index) => {
      const [from, to] = [Math.max(offset, range.from), Math.min(offset + size, range.to)];
      if (from < to) update(index, from, to);
    });
  }
  if (thread === 0) updateStatistics(context);
}

/** The method's own state becomes what it is after this step. One thread does it. */
export function advanceState(context: ThreadContext): void {
  const { spec, state, buffers } = context;
  const rows = directionsOf(spec) * spec.batchSize;
  for (const [name, { shape, next }] of Object.entries(statesOf(spec))) {
    tf.tidy(() => {
      const targets = tf.tensor2d(buffers.targets, [rows, buffers.targets.length / rows]); // [D*N,C]
      const after = next(stateTensor(context, name), targets);
      expectShape(`state ${name}`, after.shape, shape);
      floatsOf(state, blockNames.own(name)).set(floatsOfTensor(after));
    });
  }
}

/** A network sees one direction after the other, so its running statistics move once for each of them that is of images. */
function updateStatistics({ state, buffers, spec, networks, method }: ThreadContext): void {
  for (const name of networks.names) {
    if (name !== networks.trained && name !== method.targets?.network) continue;
    const { size } = networks.get(name).stats;
    const batch = buffers.batchStats[name] as Float32Array;
    for (let direction = 0; direction < directionsOf(spec); direction++) {
      const view = name === networks.trained ? direction : targetView(direction, viewsOf(spec));
      if (viewAt(spec, view) === "text") continue;
      const from = direction * spec.splits * size;
      const of = batch.subarray(from, from + spec.splits * size);
      runningStatistics(floatsOf(state, blockNames.stats(name)), of, spec.splits, BATCH_NORM_MOMENTUM);
    }
  }
}
