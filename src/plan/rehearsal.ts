/** A model and its threads on images that are not there: to find out what a step takes without a dataset. */
import { PLACE } from "../data/source.ts";
import { sharedBytes } from "../data/types.ts";
import { type Tapes, threadsEngine } from "../engine/open.ts";
import { type Model, setSchedules } from "../engine/state.ts";
import type { Threads } from "../engine/threads/threads.ts";
import { inOrder } from "../engine/units.ts";
import type { TrainSpec } from "../schema/pretrain.ts";
import { LEAST_VOCABULARY } from "../schema/text_encoder.ts";

export interface Rehearsal {
  readonly model: Model;
  readonly engine: Threads;
  /** What the places of the batch point into. */
  readonly pixels: Uint8Array<SharedArrayBuffer>;
}

/** Fills a model's batch with noise of the views' own size; gives what its places point into. */
export function dealNoise(model: Model, channels: number): Uint8Array<SharedArrayBuffer> {
  const { buffers, spec } = model;
  setSchedules(model, 0);
  const side = spec.augmentation.size;
  const bytes = side * side * channels;
  const pixels = sharedBytes(spec.batchSize * bytes);
  for (let i = 0; i < pixels.length; i++) pixels[i] = Math.imul(i, 2654435761) >>> 24;
  for (const i of inOrder(spec.batchSize)) {
    buffers.places.set([i * bytes, side, side], i * PLACE);
    buffers.batch[i] = i;
  }
  // Texts without padding.
  for (let i = 0; i < buffers.tokens.length; i++) buffers.tokens[i] = i % LEAST_VOCABULARY;
  buffers.lengths.fill(buffers.tokens.length / spec.batchSize);
  for (let i = 0; i < buffers.order.length; i++) buffers.order[i] = i % spec.batchSize;
  return pixels;
}

/** Deals a batch of noise, and runs `use` over threads of WASM, which end with it. */
export async function rehearse<T>(
  spec: TrainSpec,
  channels: number,
  threads: number,
  tapes: Tapes,
  use: (rehearsal: Rehearsal) => Promise<T>,
): Promise<T> {
  const grey = Array(channels).fill(0.5) as number[];
  const { model, engine } = await threadsEngine(spec, { channels, mean: grey, std: grey }, threads, tapes);
  try {
    return await use({ model, engine, pixels: dealNoise(model, channels) });
  } finally {
    engine.close();
  }
}

/** Rehearses a loss over the rows of the whole batch at its own size. The loss sees no encoder and no view: small ones stand in. */
export async function rehearseCouple<T>(
  spec: TrainSpec,
  channels: number,
  use: (pool: Threads["pool"]) => Promise<T>,
): Promise<T> {
  const encoder = { arch: "resnet10", stem: "cifar", width: 4 };
  const small = { ...spec, encoder, augmentation: { ...spec.augmentation, size: 8 } } as TrainSpec;
  return rehearse(small, channels, 1, "recomputed", ({ model, engine }) => {
    for (const rows of Object.values(model.buffers.rows)) for (let i = 0; i < rows.length; i++) rows[i] = Math.sin(i);
    return use(engine.pool);
  });
}

/** A step of noise. */
export const noiseStep = (
  pixels: Uint8Array,
  step: number,
  rings: readonly string[],
  followers: readonly string[],
) => ({
  step,
  epoch: 0,
  pixels,
  lr: 1e-9,
  weightDecay: 0,
  scale: undefined,
  averages: Object.fromEntries(followers.map((name) => [name, 0.99])),
  pointers: Object.fromEntries(rings.map((name) => [name, 0])),
});
