/** Opens what a run is computed on: a GPU where there is one and it may be used, else threads of WASM. */
import { join } from "node:path";
import type { FoundAdapter } from "../backend/adapters.ts";
import { agreed, chooseDevice } from "../backend/choose.ts";
import type { DataContext, ValueBytes } from "../data/types.ts";
import { openGpu } from "../kernels/gpu.ts";
import { openDevice } from "../kernels/index.ts";
import type { TrainSpec } from "../schema/pretrain.ts";
import type { Computing, Engine } from "./engine.ts";
import { createModel, type Model, threadsFor } from "./state.ts";
import { Meeting } from "./threads/meeting.ts";
import { Pool } from "./threads/pool.ts";
import { Threads } from "./threads/threads.ts";
import { GpuEngine } from "./webgpu/engine.ts";

export interface ImageNumbers {
  readonly channels: number;
  /** Of one value of an image; unset: 1. */
  readonly valueBytes?: ValueBytes | undefined;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/**
 * A fresh model and the engine that works on it. `tapes` is asked on WASM.
 * @throws UserError where the device asked for is not there.
 */
export async function openEngine(
  spec: TrainSpec,
  images: ImageNumbers,
  { threads, device }: Computing,
  { log, cache }: DataContext,
  tapes: () => Promise<Tapes> = async () => "recomputed",
): Promise<{ model: Model; engine: Engine }> {
  await openDevice(); // the classifiers of evaluations are always fitted on WASM
  const { found, why } = await chooseDevice(agreed(spec.device, device));
  log(`device: ${why}`);
  return found ? gpuEngine(spec, images, found, { log, cache }) : threadsEngine(spec, images, threads, await tapes());
}

/** Whether a coupled loss finds the tapes of its units kept, or has each unit computed once more. The bits are the same. */
export type Tapes = "kept" | "recomputed";

export async function threadsEngine(
  spec: TrainSpec,
  images: ImageNumbers,
  threads: number,
  tapes: Tapes,
): Promise<{ model: Model; engine: Threads }> {
  const model = createModel(spec, images.channels, threads);
  const { state, buffers, slots } = model;
  Meeting.open(buffers.meeting, threads);
  const pool = await Pool.open({
    spec,
    state,
    buffers,
    slots,
    channels: images.channels,
    valueBytes: images.valueBytes ?? 1,
    mean: images.mean,
    std: images.std,
    threads: threadsFor(spec, threads),
    atOnce: threads,
  });
  return { model, engine: new Threads(model, pool, threads, tapes === "kept") };
}

export async function gpuEngine(
  spec: TrainSpec,
  images: ImageNumbers,
  found: FoundAdapter,
  { log, cache }: DataContext,
): Promise<{ model: Model; engine: GpuEngine }> {
  const model = createModel(spec, images.channels, 1);
  const backend = await openGpu(found);
  const device = `webgpu: ${found.description.name}`;
  const tuningFile = join(cache, "webgpu-tuning.json");
  return { model, engine: new GpuEngine({ model, backend, device, ...images, tuningFile, log }) };
}
