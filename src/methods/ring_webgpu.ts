import type * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, reads, writes } from "../backend/webgpu.ts";

/**
 * FIFO: keys f32[D*N, C] of images ids i32[N] over the oldest rows of the queue: those of `directions` from `first` on, the last
 * one first. counters i32[..]: the queue's pointer is at `place`.
 */
export function launchEnqueue(
  queue: { keys: tf.Tensor; ids: tf.Tensor },
  keys: tf.Tensor,
  ids: tf.Tensor,
  counters: tf.Tensor,
  { directions, first }: { directions: number; first: number },
  place: number,
): void {
  const c = keys.shape[1] as number;
  const rows = directions * ids.size;
  launch({
    name: "enqueue",
    numbers: { rows, c, n: ids.size, capacity: queue.ids.size, directions, first, place },
    bind: {
      keys: reads(keys),
      ids: reads(ids, "i32"),
      counters: reads(counters, "i32"),
      queue: writes(queue.keys),
      queueIds: writes(queue.ids, "i32"),
    },
    code: lineKernel(
      "its.rows * its.c",
      64,
      `let row = i / its.c;
  let direction = its.first + its.directions - 1u - row / its.n;
  let slot = (u32(counters[its.place]) + row) % its.capacity;
  queue[slot * its.c + i % its.c] = keys[(direction * its.n + row % its.n) * its.c + i % its.c];
  if (i % its.c == 0u) { queueIds[slot] = ids[row % its.n]; }`,
    ),
    groups: folded(rows * c, 64),
  });
}
