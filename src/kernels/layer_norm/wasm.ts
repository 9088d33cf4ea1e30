/** Layer norm on WASM; the meaning and the gradient are in `index.ts`. */
import * as tf from "@tensorflow/tfjs-core";
import { allocate, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { registerOn, type Tensors } from "../register.ts";
import { LAYER_NORM, LAYER_NORM_GRAD, type LayerNormAttrs } from "./index.ts";

const sizesOf = (x: tf.TensorInfo): [rows: number, channels: number] => {
  const channels = x.shape.at(-1) as number;
  return [tf.util.sizeFromShape(x.shape) / channels, channels];
};

export function registerLayerNormWasm(): void {
  const register = registerOn("wasm");
  register(LAYER_NORM, ({ x, gamma, beta }: Tensors<"x" | "gamma" | "beta">, { epsilon }: LayerNormAttrs) => {
    const [rows, channels] = sizesOf(x);
    const [y, stats] = [allocate(x.shape), allocate([rows, 2])];
    const at = [x, gamma, beta, y, stats].map(pointer);
    wasmDevice().kernels.layerNorm(...at, rows, channels, epsilon);
    return [y, stats];
  });
  register(LAYER_NORM_GRAD, ({ x, gamma, stats, dy }: Tensors<"x" | "gamma" | "stats" | "dy">) => {
    const [rows, channels] = sizesOf(x);
    const [dx, dgamma, dbeta] = [allocate(x.shape), allocate([channels]), allocate([channels])];
    withScratch(channels * 24, (scratch) => {
      const at = [x, gamma, stats, dy, dx, dgamma, dbeta].map(pointer);
      wasmDevice().kernels.layerNormGrad(...at, scratch, rows, channels);
    });
    return [dx, dgamma, dbeta];
  });
}
