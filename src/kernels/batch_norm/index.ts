/**
 * Batch normalisation fused with the residual add and the ReLU behind it.
 *
 *     y = act(gamma * (x - mean) / sqrt(variance + eps) + beta [+ residual])
 *
 * In training, mean and biased variance are those of this call's rows, or of each of several groups of them: a split of
 * the batch is a call or a group of its own, which is MoCo's split batch norm. Threads that hold parts of one batch meet to
 * share them, which is synchronised batch norm. Fusing saves two passes over the activations forward and two backward.
 */
import * as tf from "@tensorflow/tfjs-core";
import { expectShape } from "../../util/errors.ts";
import { GRAD, NORMALISE, type NormAttrs, type NormMeeting, TRAIN } from "./names.ts";

export type { NormMeeting } from "./names.ts";

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
    const { affine } = attrs as unknown as NormAttrs;
    const take = (index: number) => () => {
      if (grads.size === 0) {
        const inputs = { x, gamma, mean, variance, y, dy } as tf.NamedTensorMap;
        (tf.engine().runKernel(GRAD, inputs, attrs) as tf.Tensor[]).forEach((g, i) => {
          // Without gamma and beta nobody asks for theirs.
          if (affine || i === 0 || i === 3) grads.set(i, tf.keep(g));
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
  /** f32[C] of each; unset: 1 and 0. */
  affine?: { gamma: tf.Tensor; beta: tf.Tensor } | undefined;
  /** Same shape as x. */
  residual?: tf.Tensor;
}

export interface NormOptions {
  /** Equal parts of the rows, each of which is normalised by itself. */
  groups?: number;
  /** See `NormAttrs`. */
  meeting?: NormMeeting | undefined;
  epsilon?: number;
}

function named({ x, affine, residual }: NormInputs): tf.NamedTensorMap {
  const channels = x.shape.at(-1) as number;
  const gamma = affine?.gamma ?? tf.ones([channels]);
  const beta = affine?.beta ?? tf.zeros([channels]);
  expectShape("batch norm: gamma", gamma.shape, [channels]);
  expectShape("batch norm: beta", beta.shape, [channels]);
  if (residual) expectShape("batch norm: residual", residual.shape, x.shape);
  return residual ? { x, gamma, beta, residual } : { x, gamma, beta };
}

/**
 * Normalises by the batch's own statistics, each of `groups` equal parts of the rows by its own.
 * @returns y f32[..., C], mean and biased variance f32[C], or f32[groups, C] of more than one.
 * @throws where gamma, beta or the residual have another shape.
 */
export function batchNormTrain(
  inputs: NormInputs,
  relu: boolean,
  { groups = 1, meeting, epsilon = 1e-5 }: NormOptions = {},
): [tf.Tensor, tf.Tensor, tf.Tensor] {
  const { affine, residual } = inputs;
  const of = { epsilon, relu, residual: residual !== undefined, groups, affine: affine !== undefined };
  const attrs: NormAttrs = meeting ? { ...of, meeting } : of;
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
  const { affine, residual } = inputs;
  const attrs: NormAttrs = {
    epsilon,
    relu,
    residual: residual !== undefined,
    groups: 1,
    affine: affine !== undefined,
  };
  return tf
    .engine()
    .runKernel(NORMALISE, { ...named(inputs), mean, variance }, attrs as unknown as tf.NamedAttrMap) as never;
}
