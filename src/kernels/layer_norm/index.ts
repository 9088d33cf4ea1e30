/**
 * Layer normalisation over the last axis (Ba et al. 2016), of all layers of a Transformer:
 *
 *     y = gamma * (x - mean) / sqrt(variance + eps) + beta
 *
 * with the mean and biased variance of each row.
 */
import * as tf from "@tensorflow/tfjs-core";
import { expectShape } from "../../util/errors.ts";

export const LAYER_NORM = "MocodLayerNorm";
export const LAYER_NORM_GRAD = "MocodLayerNormGrad";

export interface LayerNormAttrs {
  readonly epsilon: number;
}

tf.registerGradient({
  kernelName: LAYER_NORM,
  inputsToSave: ["x", "gamma"],
  outputsToSave: [false, true],
  gradFunc: (dys, saved) => {
    const [x, gamma, stats] = saved as [tf.Tensor, tf.Tensor, tf.Tensor];
    const dy = (dys as tf.Tensor[])[0] as tf.Tensor;
    const [dx, dgamma, dbeta] = tf.engine().runKernel(LAYER_NORM_GRAD, { x, gamma, stats, dy }) as [
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
    ];
    return { x: () => dx.clone(), gamma: () => dgamma.clone(), beta: () => dbeta.clone() };
  },
});

/**
 * @param x f32[..., C]
 * @param gamma f32[C], beta f32[C]
 * @returns f32[..., C]
 * @throws where gamma or beta has another shape.
 */
export function layerNorm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: number): tf.Tensor {
  const channels = x.shape.at(-1) as number;
  expectShape("layer norm: gamma", gamma.shape, [channels]);
  expectShape("layer norm: beta", beta.shape, [channels]);
  const attrs: LayerNormAttrs = { epsilon };
  const outputs = tf.engine().runKernel(LAYER_NORM, { x, gamma, beta }, attrs as unknown as tf.NamedAttrMap);
  return (outputs as tf.Tensor[])[0] as tf.Tensor;
}
