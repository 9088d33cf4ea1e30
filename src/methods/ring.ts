/** A dictionary as a queue (MoCo, section 3.1): the newest keys, and the images that they are of. */
import { Stream } from "../util/random.ts";

/**
 * FIFO ring for any K >= N: keys f32[N,C] of images `ids` over the oldest rows of queue f32[K,C].
 * @returns the new pointer.
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
