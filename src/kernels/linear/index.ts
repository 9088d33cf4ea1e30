/**
 * A linear layer over the last axis, its bias and, where wanted, the exact GELU (Hendrycks and Gimpel 2016), in one kernel:
 *
 *     z = x w + b,  y = z  or  y = z * Phi(z),  Phi the distribution function of the normal distribution
 */
import * as tf from "@tensorflow/tfjs-core";
import { expectShape } from "../../util/errors.ts";

export const LINEAR = "MocodLinear";
export const BIAS_GRAD = "MocodBiasGrad";
export const LINEAR_INPUT_GRAD = "MocodLinearInputGrad";

export interface LinearAttrs {
  readonly gelu: boolean;
}

tf.registerGradient({
  kernelName: LINEAR,
  inputsToSave: ["x", "w"],
  // z, where there is a GELU.
  outputsToSave: [false, true],
  gradFunc: (dys, saved) => {
    const [x, w, z] = saved as [tf.Tensor, tf.Tensor2D, tf.Tensor | undefined];
    const dy = (Array.isArray(dys) ? dys[0] : dys) as tf.Tensor;
    const [from, to] = w.shape;
    const inputs: tf.NamedTensorMap = z ? { dy, z } : { dy };
    const [dbias, slope] = tf.engine().runKernel(BIAS_GRAD, inputs) as tf.Tensor[];
    const dz = slope ?? dy;
    return {
      x: () => tf.engine().runKernel(LINEAR_INPUT_GRAD, { dz, w }) as tf.Tensor,
      w: () => tf.matMul(tf.reshape(x, [-1, from]) as tf.Tensor2D, tf.reshape(dz, [-1, to]) as tf.Tensor2D, true),
      bias: () => (dbias as tf.Tensor).clone(),
    };
  },
});

/**
 * @param x f32[..., from]
 * @param w f32[from, to], bias f32[to]
 * @param gelu whether the GELU is taken.
 * @returns f32[..., to]
 * @throws where shapes do not agree.
 */
export function linear(x: tf.Tensor, w: tf.Tensor, bias: tf.Tensor, gelu = false): tf.Tensor {
  const from = x.shape.at(-1) as number;
  expectShape("linear: w", w.shape, [from, -1]);
  expectShape("linear: bias", bias.shape, [w.shape[1] as number]);
  const attrs: LinearAttrs = { gelu };
  const outputs = tf.engine().runKernel(LINEAR, { x, w, bias }, attrs as unknown as tf.NamedAttrMap);
  return (outputs as tf.Tensor[])[0] as tf.Tensor;
}
