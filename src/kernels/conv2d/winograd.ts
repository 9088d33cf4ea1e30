/** When and how a 3x3 convolution of stride 1 is done by Winograd's algorithm (assembly/winograd.ts). */
import type * as tf from "@tensorflow/tfjs-core";
import { pointer, wasmDevice } from "../../backend/wasm.ts";

type Info = tf.backend_util.Conv2DInfo;

/**
 * Share of a tile's 16 outputs that must be wanted, on average. The transformed products need a quarter of the
 * multiplications at best, and the direct kernels run at a third of their effective speed: below this they win.
 */
const WORTHWHILE = 0.35;

/** Channels in fours going in and in eights coming out are what the kernels take. */
export function suits(info: Info, inner: number, outer: number, height: number, width: number): boolean {
  const tiles = Math.ceil(height / 4) * Math.ceil(width / 4);
  return (
    info.filterHeight === 3 &&
    info.filterWidth === 3 &&
    info.strideHeight === 1 &&
    inner % 4 === 0 &&
    outer % 8 === 0 &&
    height * width >= WORTHWHILE * 16 * tiles
  );
}

/**
 * Tiles of a block, a multiple of 12. Measured (2 cores, AVX2, Bun 1.4): few are best while a point's filter (256x256:
 * 256 KB) stays in the second cache from block to block; beyond it, few blocks.
 */
export const blockOf = (inner: number, outer: number): number => (inner * outer > 256 * 256 ? 48 : 12);

/** The same of the filter gradient, whose sums are read and written once a block. */
export const GRAD_BLOCK = 48;

interface Kept {
  forward?: tf.TensorInfo;
  turned?: tf.TensorInfo;
}

/** Transformed filters of the parameters in use, by the filter's data; undefined: none are kept. */
let kept: Map<object, Kept> | undefined;

/**
 * While `use` runs, a filter is transformed once for all convolutions with it: the splits of a batch share it. The
 * filters may not change meanwhile. Costs four times the filters' memory, twice that with input gradients.
 */
export function keepingFilters(use: () => void): void {
  if (kept) {
    use();
    return;
  }
  kept = new Map();
  try {
    use();
  } finally {
    const { backend } = wasmDevice();
    for (const { forward, turned } of kept.values()) {
      for (const info of [forward, turned]) if (info) backend.disposeData(info.dataId);
    }
    kept = undefined;
  }
}

/** Runs `use` with the address of the transformed filter; `turned`: for the input gradient. */
export function withFilter(filter: tf.TensorInfo, turned: boolean, use: (u: number) => void): void {
  const { backend, kernels } = wasmDevice();
  const [ci, co] = filter.shape.slice(2) as [number, number];
  const make = (): tf.TensorInfo => {
    const info = backend.makeOutput([kernels.winogradFilterBytes(ci, co) / 4], "float32");
    const scratch = backend.makeOutput([80], "float32");
    const transform = turned ? kernels.winogradFilterTurned : kernels.winogradFilter;
    transform(pointer(filter), pointer(info), pointer(scratch), ci, co);
    backend.disposeData(scratch.dataId);
    return info;
  };
  if (!kept) {
    const info = make();
    use(pointer(info));
    backend.disposeData(info.dataId);
    return;
  }
  const own = kept.get(filter.dataId) ?? {};
  kept.set(filter.dataId, own);
  const name = turned ? "turned" : "forward";
  own[name] ??= make();
  use(pointer(own[name]));
}
