/**
 * Dawn's null backend: it offers every feature, checks every shader and every call, and computes nothing. For counting what a
 * step does, and for checking code for GPUs that are not here.
 */
import { type AdapterDescription, describe, type FoundAdapter } from "./adapters.ts";

/** Of one H100 SXM (NVIDIA's data sheet): float32 without tensor cores, float16 with them, and memory. */
export const H100 = { name: "NVIDIA H100 SXM", float32: 66.9e12, float16: 989e12, bytes: 3.35e12 } as const;

/** It must not be collected while a device of it lives. */
let nullGpu: GPU | undefined;

/** `asGpu`: as this process's WebGPU, for tfjs to find. */
export async function findNullAdapter(asGpu = true): Promise<FoundAdapter> {
  const { create, globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  nullGpu ??= create(["backend=null", "enable-dawn-features=allow_unsafe_apis,disable_robustness"]);
  const gpu = nullGpu;
  if (asGpu) Object.defineProperty(globalThis.navigator, "gpu", { value: gpu, configurable: true });
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error("Dawn's null backend gave no adapter");
  const { requestDevice } = adapter;
  adapter.requestDevice = async (wanted) => shrink(await requestDevice.call(adapter, wanted));
  const description: AdapterDescription = { ...describe(adapter), name: "null", software: false };
  return { adapter, description };
}

/** The null backend has 512 MB. As nothing is computed, buffers need no room, and no part of one has to lie inside it. */
const ROOM = 2 ** 19;

function shrink(device: GPUDevice): GPUDevice {
  const { createBuffer, createBindGroup } = device;
  device.createBuffer = (wanted) =>
    createBuffer.call(device, { ...wanted, size: Math.max(4096, Math.min(wanted.size, ROOM)) });
  device.createBindGroup = (wanted) =>
    createBindGroup.call(device, {
      ...wanted,
      entries: [...wanted.entries].map(({ binding, resource }) => ({
        binding,
        // Parts of one buffer stay apart.
        resource: { buffer: (resource as GPUBufferBinding).buffer, offset: 256 * binding, size: 256 },
      })),
    });
  device.queue.writeBuffer = () => undefined;
  return device;
}
