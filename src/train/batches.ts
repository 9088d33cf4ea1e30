/** Which images each step trains on: a function of (seed, step), so nothing of it is saved. */
import { type BatchIndices, openSource, type Source } from "../data/source.ts";
import type { Images } from "../data/types.ts";
import { Stream } from "../util/random.ts";

export interface Batches {
  readonly stepsPerEpoch: number;
  readonly source: Source;
  /** Dataset indices of a step, i32[N]. */
  indices(step: number): Int32Array;
}

/** Every epoch is a new permutation of `pool`; what does not fill a batch is left out (`drop_last`). */
export function openBatches(
  images: Images,
  pool: Int32Array,
  { batchSize, epochs, seed }: { batchSize: number; epochs: number; seed: number },
): Batches {
  const stepsPerEpoch = Math.floor(pool.length / batchSize);
  let known: { epoch: number; order: Int32Array } | undefined;
  const orderOf = (epoch: number) => {
    if (known?.epoch !== epoch) known = { epoch, order: new Stream(seed, "order", epoch).permutation(pool.length) };
    return known.order;
  };
  const indices = (step: number) => {
    const first = (step % stepsPerEpoch) * batchSize;
    const order = orderOf(Math.floor(step / stepsPerEpoch)).subarray(first, first + batchSize);
    return order.map((i) => pool[i] as number);
  };
  const ahead: BatchIndices = (step) => (step < stepsPerEpoch * epochs ? indices(step) : undefined);
  return { stepsPerEpoch, indices, source: openSource(images, ahead, batchSize) };
}
