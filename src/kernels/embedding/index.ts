/**
 * Token embedding: each token's row of a table, the first layer of a text Transformer.
 *
 *     y[n, t] = table[tokens[n, t]]
 *
 * Its gradient adds up the rows of dy of each token in the order of their places, so the bits are always the same. Rows of tokens
 * that do not occur have a gradient of 0.
 */
import * as tf from "@tensorflow/tfjs-core";
import { expectShape } from "../../util/errors.ts";

export const EMBED_TOKENS = "MocodEmbedTokens";
export const EMBED_TOKENS_GRAD = "MocodEmbedTokensGrad";

export interface EmbedTokensAttrs {
  /** V: rows of the table. */
  readonly vocabulary: number;
}

tf.registerGradient({
  kernelName: EMBED_TOKENS,
  inputsToSave: ["tokens"],
  gradFunc: (dy, saved, attrs) => {
    const inputs = { tokens: saved[0] as tf.Tensor, dy: dy as tf.Tensor };
    return { table: () => tf.engine().runKernel(EMBED_TOKENS_GRAD, inputs, attrs) as tf.Tensor };
  },
});

/**
 * @param table f32[V,C]
 * @param tokens i32[N,T], in 0..V-1
 * @returns f32[N,T,C]
 * @throws where shapes or types are others; on WASM where a token is no row of the table, for which WebGPU gives zeros.
 */
export function embedTokens(table: tf.Tensor, tokens: tf.Tensor): tf.Tensor {
  expectShape("token embedding: table", table.shape, [-1, -1]);
  expectShape("token embedding: tokens", tokens.shape, [-1, -1]);
  if (tokens.dtype !== "int32") throw new Error(`token embedding: got tokens of ${tokens.dtype}, allowed: int32`);
  const attrs: EmbedTokensAttrs = { vocabulary: table.shape[0] as number };
  return tf.engine().runKernel(EMBED_TOKENS, { table, tokens }, attrs as unknown as tf.NamedAttrMap) as tf.Tensor;
}
