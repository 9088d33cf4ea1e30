/** Layer norm on WASM; the meaning and the gradient are in `index.ts`. */
import * as tf from "@tensorflow/tfjs-core";
import { allocate, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { LAYER_NORM, LAYER_NORM_GRAD, type LayerNormAttrs } from "./index.ts";

type Inputs = Record<string, tf.TensorInfo>;

const sizesOf = (x: tf.TensorInfo): [rows: number, channels: number] => {
  const channels = x.shape.at(-1) as number;
  return [tf.util.sizeFromShape(x.shape) / channels, channels];
};

export function registerLayerNormWasm(): void {
  tf.registerKernel({
    kernelName: LAYER_NORM,
    backendName: "wasm",
    kernelFunc: ({ inputs, attrs }) => {
      const { x, gamma, beta } = inputs as Inputs as Record<"x" | "gamma" | "beta", tf.TensorInfo>;
      const [rows, channels] = sizesOf(x);
      const [y, stats] = [allocate(x.shape), allocate([rows, 2])];
      const { epsilon } = attrs as unknown as LayerNormAttrs;
      const at = [x, gamma, beta, y, stats].map(pointer) as [number, number, number, number, number];
      wasmDevice().kernels.layerNorm(...at, rows, channels, epsilon);
      return [y, stats];
    },
  });
  tf.registerKernel({
    kernelName: LAYER_NORM_GRAD,
    backendName: "wasm",
    kernelFunc: ({ inputs }) => {
      const { x, gamma, stats, dy } = inputs as Inputs as Record<"x" | "gamma" | "stats" | "dy", tf.TensorInfo>;
      const [rows, channels] = sizesOf(x);
      const [dx, dgamma, dbeta] = [allocate(x.shape), allocate([channels]), allocate([channels])];
      withScratch(channels * 24, (scratch) => {
        const at = [x, gamma, stats, dy, dx, dgamma, dbeta].map(pointer);
        wasmDevice().kernels.layerNormGrad(...at, scratch, rows, channels);
      });
      return [dx, dgamma, dbeta];
    },
  });
}
