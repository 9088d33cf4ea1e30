/** A model and its threads on images that are not there: to find out what a step takes without a dataset. */
import { PLACE } from "../data/source.ts";
import { sharedBytes } from "../data/types.ts";
import { createModel, directionsOf, type Model } from "../engine/state.ts";
import { Pool } from "../engine/threads/pool.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";

export interface Rehearsal {
  readonly model: Model;
  readonly pool: Pool;
  /** What the places of the batch point into. */
  readonly pixels: Uint8Array<SharedArrayBuffer>;
}

/** Fills a model's batch with noise of the views' own size; gives what its places point into. */
export function dealNoise({ buffers }: Model, spec: PretrainSpec, channels: number): Uint8Array<SharedArrayBuffer> {
  const side = spec.augmentation.size;
  const bytes = side * side * channels;
  const pixels = sharedBytes(spec.batchSize * bytes);
  for (let i = 0; i < pixels.length; i++) pixels[i] = Math.imul(i, 2654435761) >>> 24;
  for (let i = 0; i < spec.batchSize; i++) {
    buffers.places.set([i * bytes, side, side], i * PLACE);
    buffers.batch[i] = i;
    for (let direction = 0; direction < directionsOf(spec); direction++) {
      buffers.shuffle[direction * spec.batchSize + i] = i;
    }
  }
  return pixels;
}

/** Deals a batch of noise, and runs `use` over threads of WASM, which end with it. */
export async function rehearse<T>(
  spec: PretrainSpec,
  channels: number,
  threads: number,
  use: (rehearsal: Rehearsal) => Promise<T>,
): Promise<T> {
  const model = createModel(spec, channels, threads);
  const { state, buffers, slots } = model;
  const pixels = dealNoise(model, spec, channels);
  const grey = Array(channels).fill(0.5) as number[];
  const pool = await Pool.open({ spec, state, buffers, slots, channels, mean: grey, std: grey, threads });
  try {
    return await use({ model, pool, pixels });
  } finally {
    pool.close();
  }
}
