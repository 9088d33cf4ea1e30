/** Attention on WASM, image by image; the meaning is in `index.ts`. */
import type * as tf from "@tensorflow/tfjs-core";
import { allocate, floatsOf, integersOf, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { registerOn, type Tensors } from "../register.ts";
import { ATTENTION, ATTENTION_GRAD, ATTENTION_OF_LENGTHS, type AttentionAttrs, sizesOf } from "./index.ts";

type Lengths = Partial<Tensors<"lengths">>;
type Backward = Tensors<"qkv" | "out" | "stats" | "dout"> & Lengths;

/** Tokens of each image, which the kernels take for all that it has. The image's stats are f32[H, tokens, 2]. */
function lengthsOf(lengths: tf.TensorInfo | undefined, n: number, t: number): ArrayLike<number> {
  if (!lengths) return new Int32Array(n).fill(t);
  const values = integersOf(lengths);
  for (const [i, length] of values.entries()) {
    if (length < 1 || length > t)
      throw new Error(`attention: got length ${length} of sequence ${i}, allowed: 1 to ${t}`);
  }
  return values.slice();
}

/** Zeros for the padding of an image of `t` tokens of `width` numbers. */
function clearPadding(tensor: tf.TensorInfo, image: number, length: number, t: number, width: number): void {
  if (length < t) floatsOf(tensor).fill(0, (image * t + length) * width, (image + 1) * t * width);
}

function forward({ qkv, lengths }: Tensors<"qkv"> & Lengths, { heads, causal }: AttentionAttrs): tf.TensorInfo[] {
  const { kernels } = wasmDevice();
  const { n, t, h, d } = sizesOf(qkv, heads);
  const lengthOf = lengthsOf(lengths, n, t);
  const [out, stats] = [allocate([n, t, h * d]), allocate([n, h, t, 2])];
  withScratch(kernels.attentionScratchBytes(t, d), (scratch) => {
    for (let image = 0; image < n; image++) {
      const length = lengthOf[image] as number;
      const tokens = image * t * h * 4;
      const at = [pointer(qkv) + 3 * tokens * d, pointer(out) + tokens * d, pointer(stats) + 2 * tokens];
      kernels.attention(...at, scratch, length, h, d, 1 / Math.sqrt(d), Number(causal ?? false));
      clearPadding(out, image, length, t, h * d);
    }
  });
  return [out, stats];
}

function gradient({ qkv, out, stats, dout, lengths }: Backward, { heads, causal }: AttentionAttrs): tf.TensorInfo {
  const { kernels } = wasmDevice();
  const { n, t, h, d } = sizesOf(qkv, heads);
  const lengthOf = lengthsOf(lengths, n, t);
  const dqkv = allocate(qkv.shape);
  withScratch(kernels.attentionGradScratchBytes(t, d), (scratch) => {
    for (let image = 0; image < n; image++) {
      const length = lengthOf[image] as number;
      const tokens = image * t * h * 4;
      const [own, whole] = [tokens * d, 3 * tokens * d];
      const inputsAt = [pointer(qkv) + whole, pointer(out) + own, pointer(stats) + 2 * tokens, pointer(dout) + own];
      const sizes = [length, h, d, 1 / Math.sqrt(d), Number(causal ?? false)];
      kernels.attentionGrad(...inputsAt, pointer(dqkv) + whole, scratch, ...sizes);
      clearPadding(dqkv, image, length, t, 3 * h * d);
    }
  });
  return dqkv;
}

export function registerAttentionWasm(): void {
  const register = registerOn("wasm");
  register(ATTENTION, forward);
  register(ATTENTION_OF_LENGTHS, forward);
  register(ATTENTION_GRAD, gradient);
}
