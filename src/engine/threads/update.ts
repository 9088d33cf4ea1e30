/** Behind the gradients: their sum in a fixed order, the optimiser, and the running statistics. */
import { optimisers } from "../../optim/optimiser.ts";
import { directionsOf, unitsOf } from "../state.ts";
import type { ThreadContext } from "./context.ts";
import type { Task } from "./tasks.ts";

const BN_MOMENTUM = 0.1;

/**
 * gradient += the slots of units [from, to), one after another: the same bits for any number of threads. Behind the
 * last one it is the mean over the splits, summed over the directions.
 */
export function reduceGradients({ buffers, spec, range }: ThreadContext, from: number, to: number): void {
  const { gradient, splitGradients } = buffers;
  if (from === 0) gradient.fill(0, range.from, range.to);
  for (let slot = 0; slot < to - from; slot++) {
    const base = slot * gradient.length;
    for (let i = range.from; i < range.to; i++) {
      gradient[i] = (gradient[i] as number) + (splitGradients[base + i] as number);
    }
  }
  if (to === unitsOf(spec)) {
    for (let i = range.from; i < range.to; i++) gradient[i] = (gradient[i] as number) / spec.splits;
  }
}

/** One step of the optimiser on this thread's share, and (the first thread) the running statistics. */
export function updateParams(context: ThreadContext, task: Extract<Task, { kind: "update" }>): void {
  const { state, buffers, spec, encoder, range, thread } = context;
  const { algorithm, ...settings } = spec.optimizer;
  const optimiser = optimisers[algorithm];
  const tensors = {
    params: state.queryParams,
    first: state.velocity,
    second: state.second,
    gradient: buffers.gradient,
  };
  const { entries } = encoder.params;
  const update = (index: number, from: number, to: number) => {
    const lr = task.lr * (task.scale?.[index] ?? 1);
    const rank = entries[index]?.shape.length as number;
    optimiser.update(tensors, { from, to }, { ...settings, lr, step: task.step }, rank);
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
  if (thread !== 0) return;
  // The encoders see one direction after the other, so their running statistics move twice a step.
  for (let direction = 0; direction < directionsOf(spec); direction++) {
    const size = spec.splits * encoder.stats.size;
    const of = (batch: Float32Array) => batch.subarray(direction * size, (direction + 1) * size);
    updateStats(state.queryStats, of(buffers.queryBatchStats), spec.splits);
    updateStats(state.keyStats, of(buffers.keyBatchStats), spec.splits);
  }
}

/** running = mean over splits of (1 - 0.1) * running + 0.1 * split's statistic, as the CIFAR demo's SplitBatchNorm. */
function updateStats(running: Float32Array, batch: Float32Array, splits: number): void {
  for (let i = 0; i < running.length; i++) {
    let sum = 0;
    for (let s = 0; s < splits; s++) {
      sum += (1 - BN_MOMENTUM) * (running[i] as number) + BN_MOMENTUM * (batch[s * running.length + i] as number);
    }
    running[i] = sum / splits;
  }
}
