import * as tf from "@tensorflow/tfjs-core";
import { allocate, pointer, wasmDevice } from "../../backend/wasm.ts";
import { MAX_POOL, MAX_POOL_GRAD, type PoolAttrs } from "./index.ts";

export function registerMaxPoolWasm(): void {
  tf.registerKernel({
    kernelName: MAX_POOL,
    backendName: "wasm",
    kernelFunc: ({ inputs, attrs }) => {
      const { size, stride, pad } = attrs as unknown as PoolAttrs;
      const x = inputs.x as tf.TensorInfo;
      const [n, h, w, c] = x.shape as [number, number, number, number];
      const oh = Math.floor((h + 2 * pad - size) / stride) + 1;
      const ow = Math.floor((w + 2 * pad - size) / stride) + 1;
      const y = allocate([n, oh, ow, c]);
      const argmax = allocate([n, oh, ow, c], "int32");
      wasmDevice().kernels.maxPool(...[x, y, argmax].map(pointer), n, h, w, c, oh, ow, size, stride, pad);
      return [y, argmax];
    },
  });
  tf.registerKernel({
    kernelName: MAX_POOL_GRAD,
    backendName: "wasm",
    kernelFunc: ({ inputs, attrs }) => {
      const { inputShape } = attrs as unknown as PoolAttrs;
      const dy = inputs.dy as tf.TensorInfo;
      const [n, h, w, c] = inputShape as [number, number, number, number];
      const dx = allocate([n, h, w, c]);
      const [oh, ow] = dy.shape.slice(1, 3) as [number, number];
      wasmDevice().kernels.maxPoolGrad(...[dy, inputs.argmax as tf.TensorInfo, dx].map(pointer), n, h, w, c, oh, ow);
      return dx;
    },
  });
}
