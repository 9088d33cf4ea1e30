/**
 * Multi-head self-attention (Vaswani et al. 2017, eq. 1) without the T x T probabilities in memory (Dao et al. 2022):
 *
 *     out = softmax(q k^T / sqrt(D)) v, of every head by itself
 *
 * A mask leaves out keys: query i of a sequence sees the keys j < min(i + 1 where it is causal, length of the sequence). Queries
 * beyond the length are padding: their outputs are 0, and so are the gradients of their queries, keys and values.
 *
 * A query keeps its largest score and the sum of the exponentials; the backward pass computes its row once more from them.
 */
import * as tf from "@tensorflow/tfjs-core";
import { expectShape } from "../../util/errors.ts";

export const ATTENTION = "MocodAttention";
export const ATTENTION_GRAD = "MocodAttentionGrad";
/** The same with `lengths`, apart because tfjs has no optional inputs that are saved. */
export const ATTENTION_OF_LENGTHS = "MocodAttentionOfLengths";

export interface AttentionAttrs {
  readonly heads: number;
  readonly causal?: boolean;
}

export interface AttentionMask {
  /** Whether a query sees no keys after its own place. */
  readonly causal?: boolean | undefined;
  /** i32[N], in 1..T: tokens of each sequence that are not padding. */
  readonly lengths?: tf.Tensor | undefined;
}

for (const [kernelName, inputsToSave] of [
  [ATTENTION, ["qkv"]],
  [ATTENTION_OF_LENGTHS, ["qkv", "lengths"]],
] as const) {
  tf.registerGradient({
    kernelName,
    inputsToSave: [...inputsToSave],
    outputsToSave: [true, true],
    gradFunc: (dys, saved, attrs) => {
      const dout = (dys as tf.Tensor[])[0] as tf.Tensor;
      const [out, stats] = saved.slice(inputsToSave.length) as [tf.Tensor, tf.Tensor];
      const inputs = Object.fromEntries(inputsToSave.map((name, i) => [name, saved[i] as tf.Tensor]));
      return { qkv: () => tf.engine().runKernel(ATTENTION_GRAD, { ...inputs, out, stats, dout }, attrs) as tf.Tensor };
    },
  });
}

/** N images, T tokens, H heads of D dimensions. */
export function sizesOf(qkv: tf.TensorInfo, heads: number): { n: number; t: number; h: number; d: number } {
  const [n, t, width] = qkv.shape as [number, number, number];
  return { n, t, h: heads, d: width / 3 / heads };
}

/**
 * @param qkv f32[N, T, 3*H*D]: of each token its query, key and value, the heads of each one after another.
 * @param heads H
 * @param mask unset: every query sees every key.
 * @returns f32[N, T, H*D]
 * @throws where qkv has another number of axes, its last is no multiple of 3 * heads, or lengths is not i32[N]; on WASM
 *   where a length is not in 1..T, which WebGPU takes for the nearest that is.
 */
export function attention(qkv: tf.Tensor, heads: number, { causal = false, lengths }: AttentionMask = {}): tf.Tensor {
  expectShape("attention: qkv", qkv.shape, [-1, -1, -1]);
  const width = qkv.shape[2] as number;
  if (width % (3 * heads) !== 0) {
    throw new Error(`attention: got qkv of width ${width}, allowed: multiples of 3 x ${heads} heads`);
  }
  if (lengths) {
    expectShape("attention: lengths", lengths.shape, [qkv.shape[0] as number]);
    if (lengths.dtype !== "int32") throw new Error(`attention: got lengths of ${lengths.dtype}, allowed: int32`);
  }
  const attrs: AttentionAttrs = { heads, causal };
  const run = (kernel: string, inputs: tf.NamedTensorMap) =>
    tf.engine().runKernel(kernel, inputs, attrs as unknown as tf.NamedAttrMap);
  const outputs = lengths ? run(ATTENTION_OF_LENGTHS, { qkv, lengths }) : run(ATTENTION, { qkv });
  return (outputs as tf.Tensor[])[0] as tf.Tensor;
}
