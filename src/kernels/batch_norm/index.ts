/**
 * Batch normalisation fused with the residual add and the ReLU behind it.
 *
 *     y = act(gamma * (x - mean) / sqrt(variance + eps) + beta [+ residual])
 *
 * In training, mean and biased variance are those of this call's rows, or of each of several groups of them: a split of
 * the batch is a call or a group of its own, which is MoCo's split batch norm. Fusing saves two passes over the activations forward and two backward.
 */
import * as tf from "@tensorflow/tfjs-core";
import { GRAD, NORMALISE, type NormAttrs, TRAIN } from "./names.ts";

tf.registerGradient({
  kernelName: TRAIN,
  inputsToSave: ["x", "gamma"],
  outputsToSave: [true, true, true],
  gradFunc: (dys, saved, attrs) => {
    const [x, gamma, y, mean, variance] = saved as tf.Tensor[];
    const dy = (dys as tf.Tensor[])[0];
    // One call gives all gradients, but tfjs asks for them one by one, each in a tidy of its own: the others are
    // kept until they are asked for, and leave as a clone that the asking tidy owns.
    const grads = new Map<number, tf.Tensor>();
    const take = (index: number) => () => {
      if (grads.size === 0) {
        const inputs = { x, gamma, mean, variance, y, dy } as tf.NamedTensorMap;
        (tf.engine().runKernel(GRAD, inputs, attrs) as tf.Tensor[]).forEach((g, i) => {
          grads.set(i, tf.keep(g));
        });
      }
      const grad = grads.get(index) as tf.Tensor;
      const owned = tf.clone(grad);
      grad.dispose();
      return owned;
    };
    return { x: take(0), gamma: take(1), beta: take(2), residual: take(3) };
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

/**
 * Normalises by the batch's own statistics, each of `groups` equal parts of the rows by its own. Returns y f32[..., C], mean
 * and biased variance f32[C], or f32[groups, C] of more than one.
 */
export function batchNormTrain(
  inputs: NormInputs,
  relu: boolean,
  groups = 1,
  epsilon = 1e-5,
): [tf.Tensor, tf.Tensor, tf.Tensor] {
  const attrs: NormAttrs = { epsilon, relu, residual: inputs.residual !== undefined, groups };
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
  const attrs: NormAttrs = { epsilon, relu, residual: inputs.residual !== undefined, groups: 1 };
  return tf
    .engine()
    .runKernel(NORMALISE, { ...named(inputs), mean, variance }, attrs as unknown as tf.NamedAttrMap) as never;
}
