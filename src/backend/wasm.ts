/**
 * Opens tfjs's WASM backend and, on its memory, our own SIMD module.
 * One thread each: tfjs's threaded build does not start under Bun; threads are ours, one backend a thread.
 */

import { dirname } from "node:path";
import { type BackendWasm, setThreadsCount, setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import * as tf from "@tensorflow/tfjs-core";
import { guardHeap } from "./heap.ts";

/** The exports of `kernels/wasm/assembly`. Every pointer is a byte offset in tfjs's memory. */
export interface WasmKernels {
  packPanels(w: number, packed: number, taps: number, inner: number, outer: number): void;
  packPanelsTransposed(w: number, packed: number, taps: number, ci: number, co: number): void;
  conv2d(x: number, packed: number, y: number, scratch: number, ...geometry: number[]): void;
  conv2dInputGrad(dy: number, packed: number, dx: number, scratch: number, ...geometry: number[]): void;
  conv2dFilterGrad(x: number, dy: number, dw: number, scratch: number, ...geometry: number[]): void;
  scratchBytes(taps: number, span: number): number;
  gradScratchBytes(taps: number, span: number, co: number): number;
  padImages(x: number, padded: number, ...sizes: number[]): void;
  winogradFilterBytes(inner: number, outer: number): number;
  winogradScratchBytes(block: number, width: number, inner: number, outer: number): number;
  winogradGradScratchBytes(block: number, width: number, outWidth: number, ci: number, co: number): number;
  winogradFilter(w: number, u: number, scratch: number, ci: number, co: number): void;
  winogradFilterTurned(w: number, u: number, scratch: number, ci: number, co: number): void;
  winograd(x: number, u: number, y: number, scratch: number, block: number, ...geometry: number[]): void;
  winogradFilterGrad(x: number, dy: number, dw: number, scratch: number, block: number, ...geometry: number[]): void;
  winogradStridedFilterBytes(inner: number, outer: number): number;
  winogradStridedScratchBytes(block: number, width: number, inner: number, outer: number): number;
  winogradStridedGradScratchBytes(block: number, width: number, outWidth: number, ci: number, co: number): number;
  winogradStridedFilter(w: number, u: number, scratch: number, ci: number, co: number, turned: boolean): void;
  winogradStrided(x: number, u: number, y: number, scratch: number, block: number, ...geometry: number[]): void;
  winogradStridedInputGrad(dy: number, u: number, dx: number, scratch: number, block: number, ...g: number[]): void;
  winogradStridedFilterGrad(x: number, dy: number, dw: number, scratch: number, block: number, ...g: number[]): void;
  queuePanelBytes(keys: number, dim: number): number;
  packQueue(queue: number, panels: number, keys: number, dim: number): void;
  infoNceScratchBytes(n: number, keys: number, dim: number): number;
  infoNce(...args: number[]): void;
  moments(...args: number[]): void;
  normalise(...args: number[]): void;
  normaliseGrad(...args: number[]): void;
  normaliseGradSums(...args: number[]): void;
  maxPool(...args: number[]): void;
  maxPoolGrad(...args: number[]): void;
  augment(...args: number[]): void;
  layerNorm(...args: number[]): void;
  layerNormGrad(...args: number[]): void;
  addBias(z: number, bias: number, y: number, rows: number, c: number): void;
  biasGrad(...args: number[]): void;
  attention(...args: number[]): void;
  attentionScratchBytes(tokens: number, d: number): number;
  attentionGrad(...args: number[]): void;
  attentionGradScratchBytes(tokens: number, d: number): number;
  embedTokens(table: number, tokens: number, y: number, places: number, c: number): void;
  embedTokensGrad(tokens: number, dy: number, dtable: number, places: number, rows: number, c: number): void;
  patches(x: number, y: number, ...sizes: number[]): void;
}

export interface WasmDevice {
  readonly name: "wasm";
  readonly backend: BackendWasm;
  readonly kernels: WasmKernels;
  /** By a parameter's data, then by name, while it is kept: see `kernels/derived.ts`. */
  derived: Map<object, Map<string, tf.TensorInfo>> | undefined;
}

let opened: WasmDevice | undefined;

/** Opens the device once per thread. `module` is the compiled kernel module. Throws if SIMD is not there. */
export async function openWasm(module: WebAssembly.Module): Promise<WasmDevice> {
  if (opened) return opened;
  const dist = dirname(Bun.resolveSync("@tensorflow/tfjs-backend-wasm/dist/tf-backend-wasm.node.js", import.meta.dir));
  setWasmPaths(`${dist}/`);
  setThreadsCount(1);
  tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
  await tf.setBackend("wasm");
  await tf.ready();
  if (!(await tf.env().getAsync("WASM_HAS_SIMD_SUPPORT"))) throw new Error("this machine's WASM has no SIMD");
  const backend = tf.backend() as BackendWasm;
  guardHeap(backend.wasm as never);
  const { memory } = (backend.wasm as unknown as { asm: { memory: WebAssembly.Memory } }).asm;
  const instance = await WebAssembly.instantiate(module, { env: { memory } });
  opened = { name: "wasm", backend, kernels: instance.exports as unknown as WasmKernels, derived: undefined };
  return opened;
}

/** The device of this thread. Throws before `openWasm`. */
export function wasmDevice(): WasmDevice {
  if (!opened) throw new Error("no WASM device is open in this thread");
  return opened;
}

/** Byte offset of a tensor in WASM memory. */
export function pointer(tensor: tf.TensorInfo): number {
  return wasmDevice().backend.getMemoryOffset(tensor.dataId);
}

/** A fresh tensor, not cleared. */
export function allocate(shape: number[], dtype: "float32" | "int32" = "float32"): tf.TensorInfo {
  return wasmDevice().backend.makeOutput(shape, dtype);
}

/** Runs `use` with `bytes` of scratch memory that is freed afterwards. */
export function withScratch<T>(bytes: number, use: (offset: number) => T): T {
  const { backend } = wasmDevice();
  const info = backend.makeOutput([Math.ceil(bytes / 4) + 4], "float32");
  try {
    return use(((backend.getMemoryOffset(info.dataId) + 15) & ~15) >>> 0);
  } finally {
    backend.disposeData(info.dataId);
  }
}

/** The floats of a tensor, in place: valid until the memory grows, so use it at once. */
export function floatsOf(tensor: tf.TensorInfo): Float32Array {
  return wasmDevice().backend.typedArrayFromHeap(tensor) as Float32Array;
}

/** The integers of a tensor, as `floatsOf`. */
export function integersOf(tensor: tf.TensorInfo): Int32Array {
  return wasmDevice().backend.typedArrayFromHeap(tensor) as Int32Array;
}

/** The whole heap, which never shrinks: valid until it grows. */
export function heap(): Uint8Array {
  return (wasmDevice().backend.wasm as unknown as { HEAPU8: Uint8Array }).HEAPU8;
}
