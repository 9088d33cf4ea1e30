/** The devices of the conformance suite: WASM, and WebGPU on SwiftShader, which Debian's chromium brings. */
import { dlopen, FFIType } from "bun:ffi";
import { afterAll, beforeAll } from "bun:test";
import { existsSync } from "node:fs";
import * as tf from "@tensorflow/tfjs-core";
import { findAdapters } from "../../src/backend/adapters.ts";
import { webgpu } from "../../src/backend/webgpu.ts";
import { openGpu } from "../../src/kernels/gpu.ts";
import { openDevice } from "../../src/kernels/index.ts";
import { matrixConfigOf } from "../../src/kernels/webgpu/matrix_product.ts";
import type { TensorCores } from "../../src/kernels/webgpu/tuned.ts";
import { guardHeap } from "./helpers.ts";

const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json";

/** Bun's process.env does not reach the C library, which the Vulkan loader asks; children get it from process.env. */
export function useSwiftShader(): void {
  if (process.env.VK_ICD_FILENAMES || process.env.VK_DRIVER_FILES) return;
  if (!existsSync(SWIFTSHADER)) throw new Error(`${SWIFTSHADER} is missing: apt-get install chromium`);
  const { symbols } = dlopen("libc.so.6", {
    setenv: { args: [FFIType.cstring, FFIType.cstring, FFIType.i32], returns: FFIType.i32 },
  });
  for (const [name, value] of [
    ["VK_ICD_FILENAMES", SWIFTSHADER],
    ["XDG_RUNTIME_DIR", "/tmp"],
  ] as const) {
    process.env[name] ??= value;
    symbols.setenv(Buffer.from(`${name}\0`), Buffer.from(`${process.env[name]}\0`), 1);
  }
}

export const devices = ["wasm", "webgpu"] as const;
export type TestDevice = (typeof devices)[number];

let gpu: Promise<unknown> | undefined;

/** Opens the device and makes it tfjs's. */
export async function useTestDevice(device: TestDevice): Promise<void> {
  if (device === "wasm") await openDevice();
  else {
    gpu ??= openTestGpu();
    await gpu;
  }
  await tf.setBackend(device);
}

async function openTestGpu(): Promise<void> {
  useSwiftShader();
  const [first] = await findAdapters();
  if (!first) throw new Error("no WebGPU adapter, not even SwiftShader");
  const backend = await openGpu(first);
  // What WebGPU does not accept it only mentions, and goes on with zeros.
  backend.device.addEventListener("uncapturederror", ({ error }) => {
    throw error;
  });
}

/**
 * The tests of this block run on the device: WASM's heap between guard words, see `guardHeap`. Behind them it is WASM again,
 * which is what other files take for granted.
 */
export function runOn(device: TestDevice): void {
  let unguard: (() => void) | undefined;
  beforeAll(async () => {
    await useTestDevice(device);
    if (device === "wasm") unguard = guardHeap();
  });
  afterAll(async () => {
    unguard?.();
    await useTestDevice("wasm");
  });
}

/** The device's tensor cores; where it has none, as SwiftShader, their emulation. */
export function testCores(): TensorCores {
  const config = matrixConfigOf(webgpu().device, webgpu().info);
  return config
    ? { config, emulated: false }
    : { config: { rows: 16, columns: 8, depth: 8, lanes: 32 }, emulated: true };
}

/** A pipeline of WebGPU is compiled for every shape, which takes a software adapter a third of a second. */
export const few = (device: TestDevice, runs: number): number => (device === "wasm" ? runs : Math.ceil(runs / 6));
