/** When and how a 3x3 convolution is done by Winograd's algorithm (assembly/winograd.ts, winograd_strided.ts). */
import type * as tf from "@tensorflow/tfjs-core";
import { pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { withDerived } from "../derived.ts";
import { via } from "../profile.ts";

type Info = tf.backend_util.Conv2DInfo;

/** One way to do a convolution in a transformed domain. Addresses are byte offsets, `g` the sizes of the convolution. */
interface Algorithm {
  filterBytes(inner: number, outer: number): number;
  /** Transforms a filter; `turned`: for the input gradient. */
  filter(w: number, u: number, scratch: number, ci: number, co: number, turned: boolean): void;
  scratchBytes(block: number, width: number, inner: number, outer: number): number;
  forward(x: number, u: number, y: number, scratch: number, block: number, g: Info): void;
  inputGrad(dy: number, u: number, dx: number, scratch: number, block: number, g: Info): void;
  gradScratchBytes(block: number, g: Info): number;
  filterGrad(x: number, dy: number, dw: number, scratch: number, block: number, g: Info): void;
}

const sizes = (g: Info): number[] => [
  g.batchSize,
  g.inHeight,
  g.inWidth,
  g.inChannels,
  g.outHeight,
  g.outWidth,
  g.outChannels,
  g.padInfo.top,
  g.padInfo.left,
];

const stride1: Algorithm = {
  filterBytes: (inner, outer) => wasmDevice().kernels.winogradFilterBytes(inner, outer),
  filter(w, u, scratch, ci, co, turned) {
    const { winogradFilter, winogradFilterTurned } = wasmDevice().kernels;
    (turned ? winogradFilterTurned : winogradFilter)(w, u, scratch, ci, co);
  },
  scratchBytes: (block, width, inner, outer) => wasmDevice().kernels.winogradScratchBytes(block, width, inner, outer),
  forward: (x, u, y, scratch, block, g) => wasmDevice().kernels.winograd(x, u, y, scratch, block, ...sizes(g)),
  /** The convolution of dy with the turned filter, padded by what the filter reaches beyond. */
  inputGrad: (dy, u, dx, scratch, block, g) =>
    wasmDevice().kernels.winograd(
      ...([dy, u, dx, scratch, block] as const),
      g.batchSize,
      g.outHeight,
      g.outWidth,
      g.outChannels,
      g.inHeight,
      g.inWidth,
      g.inChannels,
      2 - g.padInfo.top,
      2 - g.padInfo.left,
    ),
  gradScratchBytes: (block, g) =>
    wasmDevice().kernels.winogradGradScratchBytes(block, g.inWidth, g.outWidth, g.inChannels, g.outChannels),
  filterGrad: (x, dy, dw, scratch, block, g) =>
    wasmDevice().kernels.winogradFilterGrad(x, dy, dw, scratch, block, ...sizes(g)),
};

const stride2: Algorithm = {
  filterBytes: (inner, outer) => wasmDevice().kernels.winogradStridedFilterBytes(inner, outer),
  filter: (w, u, scratch, ci, co, turned) => wasmDevice().kernels.winogradStridedFilter(w, u, scratch, ci, co, turned),
  scratchBytes: (block, width, inner, outer) =>
    wasmDevice().kernels.winogradStridedScratchBytes(block, width, inner, outer),
  forward: (x, u, y, scratch, block, g) => wasmDevice().kernels.winogradStrided(x, u, y, scratch, block, ...sizes(g)),
  inputGrad: (dy, u, dx, scratch, block, g) =>
    wasmDevice().kernels.winogradStridedInputGrad(dy, u, dx, scratch, block, ...sizes(g)),
  gradScratchBytes: (block, g) =>
    wasmDevice().kernels.winogradStridedGradScratchBytes(block, g.inWidth, g.outWidth, g.inChannels, g.outChannels),
  filterGrad: (x, dy, dw, scratch, block, g) =>
    wasmDevice().kernels.winogradStridedFilterGrad(x, dy, dw, scratch, block, ...sizes(g)),
};

/**
 * Share of a tile's 16 outputs that must be wanted, on average. The transformed products need a quarter of the
 * multiplications at best (of stride 2 a bit more than half), and below this the direct kernels win.
 */
const WORTHWHILE = { 1: 0.35, 2: 0.75 };

/** The algorithm for these sizes, if there is one: channels in fours going in and in eights coming out. */
function algorithmFor(g: Info, inner: number, outer: number, height: number, width: number): Algorithm | undefined {
  const stride = g.strideHeight;
  if (g.filterHeight !== 3 || g.filterWidth !== 3 || (stride !== 1 && stride !== 2)) return undefined;
  const wanted = (height * width) / (16 * Math.ceil(height / 4) * Math.ceil(width / 4));
  if (inner % 4 !== 0 || outer % 8 !== 0 || wanted < WORTHWHILE[stride]) return undefined;
  via(stride === 1 ? "Winograd F(4x4, 3x3)" : "Winograd F(4x4, 3x3) of stride 2");
  return stride === 1 ? stride1 : stride2;
}

/**
 * Tiles of a block, an even number. Measured (2 cores, Bun 1.4): few are best while a point's filter (256x256:
 * 256 KB) stays in the second cache from block to block; beyond it, few blocks.
 */
const blockOf = (inner: number, outer: number): number => (inner * outer > 256 * 256 ? 48 : 12);
/** The same of the filter gradient, whose sums are read and written once a block. */
const GRAD_BLOCK = 48;

/** Each does its part if these sizes suit it, and tells whether it did. */
export function winogradForward(x: tf.TensorInfo, filter: tf.TensorInfo, y: tf.TensorInfo, g: Info): boolean {
  const algorithm = algorithmFor(g, g.inChannels, g.outChannels, g.outHeight, g.outWidth);
  if (!algorithm) return false;
  const block = blockOf(g.inChannels, g.outChannels);
  withFilter(algorithm, filter, false, (u) =>
    withScratch(algorithm.scratchBytes(block, g.inWidth, g.inChannels, g.outChannels), (scratch) =>
      algorithm.forward(pointer(x), u, pointer(y), scratch, block, g),
    ),
  );
  return true;
}

export function winogradInputGrad(dy: tf.TensorInfo, filter: tf.TensorInfo, dx: tf.TensorInfo, g: Info): boolean {
  // Tiles are of what is written: dx with stride 1; with stride 2 the transposed walk goes over tiles of dy.
  const [height, width] = g.strideHeight === 1 ? [g.inHeight, g.inWidth] : [g.outHeight, g.outWidth];
  const algorithm = algorithmFor(g, g.outChannels, g.inChannels, height, width);
  if (!algorithm) return false;
  const block = blockOf(g.outChannels, g.inChannels);
  withFilter(algorithm, filter, true, (u) =>
    withScratch(algorithm.scratchBytes(block, g.outWidth, g.outChannels, g.inChannels), (scratch) =>
      algorithm.inputGrad(pointer(dy), u, pointer(dx), scratch, block, g),
    ),
  );
  return true;
}

export function winogradFilterGrad(x: tf.TensorInfo, dy: tf.TensorInfo, dw: tf.TensorInfo, g: Info): boolean {
  const algorithm = algorithmFor(g, g.inChannels, g.outChannels, g.outHeight, g.outWidth);
  if (!algorithm) return false;
  withScratch(algorithm.gradScratchBytes(GRAD_BLOCK, g), (scratch) =>
    algorithm.filterGrad(pointer(x), pointer(dy), pointer(dw), scratch, GRAD_BLOCK, g),
  );
  return true;
}

/** Runs `use` with the address of the transformed filter. Kept, it costs four times the filter's memory. */
function withFilter(algorithm: Algorithm, filter: tf.TensorInfo, turned: boolean, use: (u: number) => void): void {
  const [ci, co] = filter.shape.slice(2) as [number, number];
  const make = (to: number) =>
    withScratch(288, (scratch) => algorithm.filter(pointer(filter), to, scratch, ci, co, turned));
  withDerived(filter, turned ? "turned" : "forward", algorithm.filterBytes(ci, co), make, use);
}
