/** Rows of embeddings. */
import * as tf from "@tensorflow/tfjs-core";

/** Rows to unit length. f32[N,C] -> f32[N,C] */
export function normalise(x: tf.Tensor): tf.Tensor {
  return tf.div(x, tf.maximum(tf.norm(x, 2, 1, true), 1e-12));
}

/** Cosine of each row of `a` with the same row of `b`. f32[N,C], f32[N,C] -> f32[N] */
export function cosines(a: tf.Tensor, b: tf.Tensor): tf.Tensor1D {
  return tf.sum(tf.mul(normalise(a), normalise(b)), 1);
}

/**
 * Standard deviation of a coordinate of the unit rows, times sqrt(C): 0 when all rows are the same, 1 when they are even on
 * the sphere (SimSiam, section 4.1). f32[N,C] -> f32[]
 */
export function deviation(x: tf.Tensor): tf.Scalar {
  const unit = normalise(x);
  const centred = tf.sub(unit, tf.mean(unit, 0, true)); // [N,C]
  const std = tf.sqrt(tf.mean(tf.square(centred), 0)); // [C]
  return tf.mul(tf.mean(std), Math.sqrt(x.shape[1] as number));
}
