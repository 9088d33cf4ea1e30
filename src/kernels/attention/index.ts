/**
 * Multi-head self-attention (Vaswani et al. 2017, eq. 1) without the T x T probabilities in memory (Dao et al. 2022):
 *
 *     out = softmax(q k^T / sqrt(D)) v, of every head by itself
 *
 * A query keeps its largest score and the sum of the exponentials; the backward pass computes its row once more from them.
 */
import * as tf from "@tensorflow/tfjs-core";
import { expectShape } from "../../util/errors.ts";

export const ATTENTION = "MocodAttention";
export const ATTENTION_GRAD = "MocodAttentionGrad";

export interface AttentionAttrs {
  readonly heads: number;
}

tf.registerGradient({
  kernelName: ATTENTION,
  inputsToSave: ["qkv"],
  outputsToSave: [true, true],
  gradFunc: (dys, saved, attrs) => {
    const [qkv, out, stats] = saved as [tf.Tensor, tf.Tensor, tf.Tensor];
    const dout = (dys as tf.Tensor[])[0] as tf.Tensor;
    return { qkv: () => tf.engine().runKernel(ATTENTION_GRAD, { qkv, out, stats, dout }, attrs) as tf.Tensor };
  },
});

/** N images, T tokens, H heads of D dimensions. */
export function sizesOf(qkv: tf.TensorInfo, heads: number): { n: number; t: number; h: number; d: number } {
  const [n, t, width] = qkv.shape as [number, number, number];
  return { n, t, h: heads, d: width / 3 / heads };
}

/**
 * @param qkv f32[N, T, 3*H*D]: of each token its query, key and value, the heads of each one after another.
 * @param heads H
 * @returns f32[N, T, H*D]
 * @throws where qkv has another number of axes, or its last is no multiple of 3 * heads.
 */
export function attention(qkv: tf.Tensor, heads: number): tf.Tensor {
  expectShape("attention: qkv", qkv.shape, [-1, -1, -1]);
  const width = qkv.shape[2] as number;
  if (width % (3 * heads) !== 0) {
    throw new Error(`attention: got qkv of width ${width}, allowed: multiples of 3 x ${heads} heads`);
  }
  const attrs: AttentionAttrs = { heads };
  const outputs = tf.engine().runKernel(ATTENTION, { qkv }, attrs as unknown as tf.NamedAttrMap);
  return (outputs as tf.Tensor[])[0] as tf.Tensor;
}
