/** Opens what a run is computed on: a GPU where there is one and it may be used, else threads of WASM. */
import { join } from "node:path";
import type { FoundAdapter } from "../backend/adapters.ts";
import { agreed, chooseDevice, type DeviceWish } from "../backend/choose.ts";
import type { DataContext } from "../data/types.ts";
import { openGpu } from "../kernels/gpu.ts";
import { openDevice } from "../kernels/index.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import type { Engine } from "./engine.ts";
import { createModel, type Model } from "./state.ts";
import { Pool } from "./threads/pool.ts";
import { Threads } from "./threads/threads.ts";
import { GpuEngine } from "./webgpu/engine.ts";

export interface ImageNumbers {
  readonly channels: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** A fresh model and the engine that works on it. Throws UserError where the device asked for is not there. */
export async function openEngine(
  spec: PretrainSpec,
  images: ImageNumbers,
  { threads, device }: { threads: number; device: DeviceWish },
  { log, cache }: DataContext,
): Promise<{ model: Model; engine: Engine }> {
  await openDevice(); // the classifiers of evaluations are always fitted on WASM
  const { found, why } = await chooseDevice(agreed(spec.device, device));
  log(`device: ${why}`);
  if (!found) {
    const model = createModel(spec, images.channels, threads);
    const { state, buffers, slots } = model;
    const pool = await Pool.open({ spec, state, buffers, slots, ...images, threads });
    return { model, engine: new Threads(spec, model, pool, threads) };
  }
  return gpuEngine(spec, images, found, { log, cache });
}

export async function gpuEngine(
  spec: PretrainSpec,
  images: ImageNumbers,
  found: FoundAdapter,
  { log, cache }: DataContext,
): Promise<{ model: Model; engine: GpuEngine }> {
  const model = createModel(spec, images.channels, 1);
  const backend = await openGpu(found);
  const device = `webgpu: ${found.description.name}`;
  const tuningFile = join(cache, "webgpu-tuning.json");
  return { model, engine: new GpuEngine({ spec, model, backend, device, ...images, tuningFile, log }) };
}
