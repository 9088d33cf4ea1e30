/** Opens a WebGPU device outside a browser, with our kernels under tfjs. */
import * as tf from "@tensorflow/tfjs-core";
import { type FoundAdapter, openAdapter } from "../backend/adapters.ts";
import type { GpuBackend } from "../backend/gpu_backend.ts";
import { registerWebgpuKernels } from "./webgpu/register.ts";

let opened: Promise<GpuBackend> | undefined;

/** Once a process: what follows gets the first one's device. tfjs goes on computing where it did. */
export function openGpu(found: FoundAdapter): Promise<GpuBackend> {
  opened ??= openAnother(found);
  return opened;
}

/** Opens one more device, in place of the one that tfjs had. */
export async function openAnother(found: FoundAdapter): Promise<GpuBackend> {
  const backend = await openAdapter(found);
  registerWebgpuKernels();
  const before = tf.getBackend();
  await tf.setBackend("webgpu");
  if (before) await tf.setBackend(before);
  return backend;
}
