/**
 * MoCo (He et al. 2020, Chen et al. 2020): a dictionary as a queue, a key encoder as a moving average.
 *
 * One step, in the reference's order (facebookresearch/moco, moco/builder.py):
 *
 *     k_params = m*k_params + (1-m)*q_params              momentumUpdate
 *     k = normalise(f_k(x_k[shuffle]))[unshuffle]         keys, no gradient
 *     q = normalise(f_q(x_q))                             queries
 *     loss = CE([q.k, q.queue] / T, 0)                    infoNce (kernels/info_nce)
 *     SGD on q_params
 *     enqueue(k)
 *
 * Given the queue the loss is a sum over samples, so each split of the batch computes its share alone.
 * N batch, C dimension of a key, K keys in the queue.
 */
import * as tf from "@tensorflow/tfjs-core";
import { Stream } from "../util/random.ts";

/** k = m*k + (1-m)*q over a range of parameters. Batch-norm statistics are not averaged. */
export function momentumUpdate(k: Float32Array, q: Float32Array, m: number, range: { from: number; to: number }): void {
  for (let i = range.from; i < range.to; i++) k[i] = m * (k[i] as number) + (1 - m) * (q[i] as number);
}

/** Rows to unit length. f32[N,C] -> f32[N,C] */
export function normalise(x: tf.Tensor): tf.Tensor {
  return tf.div(x, tf.maximum(tf.norm(x, 2, 1, true), 1e-12));
}

/**
 * FIFO ring for any K >= N: keys f32[N,C] of images `ids` over the oldest rows of queue f32[K,C].
 * Returns the new pointer.
 */
export function enqueue(
  queue: { keys: Float32Array; ids: Int32Array },
  keys: Float32Array,
  ids: Int32Array,
  pointer: number,
): number {
  const capacity = queue.ids.length;
  const dim = queue.keys.length / capacity;
  const untilEnd = Math.min(ids.length, capacity - pointer);
  queue.keys.set(keys.subarray(0, untilEnd * dim), pointer * dim);
  queue.keys.set(keys.subarray(untilEnd * dim), 0);
  queue.ids.set(ids.subarray(0, untilEnd), pointer);
  queue.ids.set(ids.subarray(untilEnd), 0);
  return (pointer + ids.length) % capacity;
}

/** The queue before the first step: random unit vectors, f32[K,C]. */
export function initQueue(queue: Float32Array, dim: number, seed: number): void {
  for (let row = 0; row * dim < queue.length; row++) {
    const random = new Stream(seed, "queue", row);
    const vector = queue.subarray(row * dim, (row + 1) * dim);
    let norm = 0;
    for (let i = 0; i < dim; i++) {
      vector[i] = random.normal();
      norm += (vector[i] as number) ** 2;
    }
    for (let i = 0; i < dim; i++) vector[i] = (vector[i] as number) / Math.sqrt(norm);
  }
}

/**
 * Which batch positions each split encodes: split s takes s, s+S, s+2S, ... (interleaved, as the CIFAR demo's
 * SplitBatchNorm views its batch), of the batch itself for queries and of a permutation of it for keys.
 */
export function splitPositions(order: ArrayLike<number>, split: number, splits: number): number[] {
  const positions: number[] = [];
  for (let i = split; i < order.length; i += splits) positions.push(order[i] as number);
  return positions;
}
