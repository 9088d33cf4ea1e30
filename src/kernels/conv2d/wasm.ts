/**
 * Conv2D and its two gradients on WASM, in place of tfjs's (whose input gradient is naive and whose filter
 * gradient does not exist). Registered under tfjs's own names, so `tf.conv2d` and its gradient use them.
 * x f32[N,H,W,Ci], filter f32[KH,KW,Ci,Co], y f32[N,OH,OW,Co]. Dilation 1, equal strides.
 */
import * as tf from "@tensorflow/tfjs-core";
import { allocate, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { withDerived } from "../derived.ts";
import { via } from "../profile.ts";
import { type ConvAttrs, describe, type Info } from "./geometry.ts";
import { winogradFilterGrad, winogradForward, winogradInputGrad } from "./winograd.ts";

/** Sizes and filter of a convolution as the kernels take them. */
function geometry(i: Info): number[] {
  return [
    i.batchSize,
    i.inHeight,
    i.inWidth,
    i.inChannels,
    i.outHeight,
    i.outWidth,
    i.outChannels,
    i.filterHeight,
    i.filterWidth,
    i.strideHeight,
    i.padInfo.top,
    i.padInfo.left,
  ];
}

/**
 * Of few channels (an image's) a tap is too short to be worth its start. Over a padded copy a whole row of the filter
 * is one tap: its pixels lie side by side. Gives the convolution so, its last size the floats read at a tap, to `use`.
 */
function byFilterRow(x: tf.TensorInfo, i: Info, use: (x: number, taps: number, geometry: number[]) => void): void {
  const { filterHeight: kh, filterWidth: kw, inChannels: c } = i;
  if (c >= 8 || kw === 1) {
    use(pointer(x), kh * kw, [...geometry(i), c]);
    return;
  }
  const { top, bottom, left, right } = i.padInfo;
  const [h, w] = [i.inHeight + top + bottom, i.inWidth + left + right];
  withScratch(i.batchSize * h * w * c * 4, (padded) => {
    wasmDevice().kernels.padImages(
      ...([pointer(x), padded, i.batchSize, i.inHeight, i.inWidth, c] as const),
      ...([top, bottom, left, right] as const),
    );
    const sizes = [i.batchSize, h, w, c, i.outHeight, i.outWidth, i.outChannels];
    use(padded, kh, [...sizes, kh, 1, i.strideHeight, 0, 0, kw * c]);
  });
}

const panelFloats = (taps: number, inner: number, outer: number) => Math.ceil(outer / 8) * 8 * taps * inner;

function conv2d(x: tf.TensorInfo, filter: tf.TensorInfo, attrs: ConvAttrs): tf.TensorInfo {
  const { kernels } = wasmDevice();
  const info = describe(x.shape, filter.shape, attrs);
  const taps = info.filterHeight * info.filterWidth;
  const y = allocate(info.outShape);
  if (winogradForward(x, filter, y, info)) return y;
  via("direct");
  const { inChannels: ci, outChannels: co } = info;
  const pack = (to: number) => kernels.packPanels(pointer(filter), to, taps, ci, co);
  withDerived(filter, "panels", panelFloats(taps, ci, co) * 4, pack, (packed) =>
    byFilterRow(x, info, (from, rows, sizes) =>
      withScratch(kernels.scratchBytes(rows, sizes.at(-1) as number), (scratch) =>
        kernels.conv2d(from, packed, pointer(y), scratch, ...sizes),
      ),
    ),
  );
  return y;
}

function inputGrad(dy: tf.TensorInfo, filter: tf.TensorInfo, attrs: ConvAttrs): tf.TensorInfo {
  const { kernels } = wasmDevice();
  const info = describe(attrs.inputShape as number[], filter.shape, attrs);
  const taps = info.filterHeight * info.filterWidth;
  const dx = allocate(info.inShape);
  if (winogradInputGrad(dy, filter, dx, info)) return dx;
  via("direct");
  const { inChannels: ci, outChannels: co } = info;
  const pack = (to: number) => kernels.packPanelsTransposed(pointer(filter), to, taps, ci, co);
  withDerived(filter, "transposed panels", panelFloats(taps, co, ci) * 4, pack, (packed) =>
    withScratch(kernels.scratchBytes(taps, co), (scratch) =>
      kernels.conv2dInputGrad(pointer(dy), packed, pointer(dx), scratch, ...geometry(info)),
    ),
  );
  return dx;
}

function filterGrad(x: tf.TensorInfo, dy: tf.TensorInfo, attrs: ConvAttrs): tf.TensorInfo {
  const { kernels } = wasmDevice();
  const info = describe(x.shape, attrs.filterShape as number[], attrs);
  const dw = allocate(info.filterShape);
  if (winogradFilterGrad(x, dy, dw, info)) return dw;
  via("direct");
  byFilterRow(x, info, (from, taps, sizes) =>
    withScratch(kernels.gradScratchBytes(taps, sizes.at(-1) as number, info.outChannels), (scratch) =>
      kernels.conv2dFilterGrad(from, pointer(dy), pointer(dw), scratch, ...sizes),
    ),
  );
  return dw;
}

type Inputs = Record<string, tf.TensorInfo>;

export function registerConv2dWasm(): void {
  const register = (kernelName: string, run: (inputs: Inputs, attrs: ConvAttrs) => tf.TensorInfo) => {
    if (tf.getKernel(kernelName, "wasm")) tf.unregisterKernel(kernelName, "wasm");
    tf.registerKernel({
      kernelName,
      backendName: "wasm",
      kernelFunc: ({ inputs, attrs }) => run(inputs as Inputs, attrs as unknown as ConvAttrs),
    });
  };
  register("Conv2D", ({ x, filter }, attrs) => conv2d(x as tf.TensorInfo, filter as tf.TensorInfo, attrs));
  register("Conv2DBackpropInput", ({ dy, filter }, attrs) =>
    inputGrad(dy as tf.TensorInfo, filter as tf.TensorInfo, attrs),
  );
  register("Conv2DBackpropFilter", ({ x, dy }, attrs) => filterGrad(x as tf.TensorInfo, dy as tf.TensorInfo, attrs));
}
