/** Attention on WASM, image by image; the meaning is in `index.ts`. */
import * as tf from "@tensorflow/tfjs-core";
import { allocate, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { ATTENTION, ATTENTION_GRAD, type AttentionAttrs, sizesOf } from "./index.ts";

export function registerAttentionWasm(): void {
  tf.registerKernel({
    kernelName: ATTENTION,
    backendName: "wasm",
    kernelFunc: ({ inputs, attrs }) => {
      const { kernels } = wasmDevice();
      const qkv = inputs.qkv as tf.TensorInfo;
      const { n, t, h, d } = sizesOf(qkv, (attrs as unknown as AttentionAttrs).heads);
      const [out, stats] = [allocate([n, t, h * d]), allocate([n, h, t, 2])];
      withScratch(kernels.attentionScratchBytes(t, d), (scratch) => {
        for (let image = 0; image < n; image++) {
          const tokens = image * t * h * 4;
          const at = [pointer(qkv) + 3 * tokens * d, pointer(out) + tokens * d, pointer(stats) + 2 * tokens];
          kernels.attention(...at, scratch, t, h, d, 1 / Math.sqrt(d));
        }
      });
      return [out, stats];
    },
  });
  tf.registerKernel({
    kernelName: ATTENTION_GRAD,
    backendName: "wasm",
    kernelFunc: ({ inputs, attrs }) => {
      const { kernels } = wasmDevice();
      const { qkv, out, stats, dout } = inputs as Record<string, tf.TensorInfo> as Record<
        "qkv" | "out" | "stats" | "dout",
        tf.TensorInfo
      >;
      const { n, t, h, d } = sizesOf(qkv, (attrs as unknown as AttentionAttrs).heads);
      const dqkv = allocate(qkv.shape);
      withScratch(kernels.attentionGradScratchBytes(t, d), (scratch) => {
        for (let image = 0; image < n; image++) {
          const tokens = image * t * h * 4;
          const [own, whole] = [tokens * d, 3 * tokens * d];
          const inputsAt = [pointer(qkv) + whole, pointer(out) + own, pointer(stats) + 2 * tokens, pointer(dout) + own];
          kernels.attentionGrad(...inputsAt, pointer(dqkv) + whole, scratch, t, h, d, 1 / Math.sqrt(d));
        }
      });
      return dqkv;
    },
  });
}
