/**
 * Batch normalisation fused with the residual add and the ReLU behind it.
 *
 *     y = act(gamma * (x - mean) / sqrt(variance + eps) + beta [+ residual])
 *
 * In training, mean and biased variance are those of this call's rows: a split of the batch calls it alone, which
 * is MoCo's split batch norm. Fusing saves two passes over the activations forward and two backward.
 */
import * as tf from "@tensorflow/tfjs-core";
import { GRAD, type NormAttrs, NORMALISE, TRAIN } from "./names.ts";

tf.registerGradient({
  kernelName: TRAIN,
  inputsToSave: ["x", "gamma"],
  outputsToSave: [true, true, true],
  gradFunc: (dys, saved, attrs) => {
    const [x, gamma, y, mean, variance] = saved as tf.Tensor[];
    const dy = (dys as tf.Tensor[])[0];
    // One call gives all four: tfjs asks for them one by one, so they are computed on the first question.
    let grads: tf.Tensor[] | undefined;
    const all = () => {
      grads ??= tf.engine().runKernel(GRAD, { x, gamma, mean, variance, y, dy } as tf.NamedTensorMap, attrs) as tf.Tensor[];
      return grads;
    };
    return {
      x: () => all()[0] as tf.Tensor,
      gamma: () => all()[1] as tf.Tensor,
      beta: () => all()[2] as tf.Tensor,
      residual: () => all()[3] as tf.Tensor,
    };
  },
});

export interface NormInputs {
  /** f32[..., C] */
  x: tf.Tensor;
  gamma: tf.Tensor;
  beta: tf.Tensor;
  /** Same shape as x. */
  residual?: tf.Tensor;
}

function named(inputs: NormInputs): tf.NamedTensorMap {
  const { residual, ...rest } = inputs;
  return (residual ? { ...rest, residual } : rest) as unknown as tf.NamedTensorMap;
}

/** Normalises by the batch's own statistics. Returns y f32[..., C], mean f32[C], biased variance f32[C]. */
export function batchNormTrain(inputs: NormInputs, relu: boolean, epsilon = 1e-5): [tf.Tensor, tf.Tensor, tf.Tensor] {
  const attrs: NormAttrs = { epsilon, relu, residual: inputs.residual !== undefined };
  return tf.engine().runKernel(TRAIN, named(inputs), attrs as unknown as tf.NamedAttrMap) as never;
}

/** Normalises by running statistics. Not differentiable: encoders are frozen where it is used. */
export function batchNormEval(
  inputs: NormInputs,
  mean: tf.Tensor,
  variance: tf.Tensor,
  relu: boolean,
  epsilon = 1e-5,
): tf.Tensor {
  const attrs: NormAttrs = { epsilon, relu, residual: inputs.residual !== undefined };
  return tf.engine().runKernel(NORMALISE, { ...named(inputs), mean, variance }, attrs as unknown as tf.NamedAttrMap) as never;
}
