/**
 * NT-Xent (Chen et al. 2020, SimCLR, eq. 1) over all pairs of a batch, and its gradient, in blocks of rows: the matrix of
 * all similarities is never in memory at once.
 *
 *     loss = mean over i of -log( exp(s_ip) / sum over j != i of exp(s_ij) ),   s_ij = z_i.z_j / T
 *
 * where p is the other view of the image of i. Every row has a gradient as a query and as a key of the others:
 * dloss/dz_i = 1/(2N T) * ( sum_j (P_ij + P_ji) z_j - 2 z_p ), P_ij = exp(s_ij) / sum over j != i.
 */
import * as tf from "@tensorflow/tfjs-core";
import type { Outcome } from "../method.ts";
import type { Temperature } from "../temperature.ts";

/** Similarities in memory at once. */
const BLOCK = 2 ** 22;
/** Added to a similarity that does not count. */
const NEVER = -1e9;

interface Sums extends tf.NamedTensorMap {
  loss: tf.Scalar;
  top1: tf.Scalar;
  /** [B,C]: as queries. */
  queries: tf.Tensor2D;
  /** [2N,C]: as keys. */
  keys: tf.Tensor2D;
}

/**
 * z f32[2N,C], rows of unit length: row i and row (i + N) mod 2N are the two views of an image. A temperature that is a scalar
 * has a gradient.
 */
export function ntXent(z: tf.Tensor2D, temperature: Temperature): Outcome {
  if (typeof temperature === "number") return ofNumber(z, temperature);
  // The loss depends on z_i.z_j / T alone, and the cosines on z.
  const { loss, metrics } = ofNumber(tf.div(z, tf.sqrt(temperature)), 1);
  return { loss, metrics: tf.mul(metrics, tf.stack([1, temperature, temperature])) };
}

function ofNumber(z: tf.Tensor2D, temperature: number): Outcome {
  const rows = z.shape[0];
  const size = Math.max(1, Math.min(rows, Math.floor(BLOCK / rows)));
  const pairs = tf.tidy(() => swapHalves(z)); // [2N,C]
  let measured: tf.Tensor1D | undefined;
  const value = tf.customGrad((x, save) => {
    const [own, other] = [x, pairs] as [tf.Tensor2D, tf.Tensor2D];
    let [loss, top1, keys] = [tf.scalar(0), tf.scalar(0), tf.zerosLike(own)];
    const queries: tf.Tensor2D[] = [];
    for (let from = 0; from < rows; from += size) {
      const block = tf.tidy(() => ofBlock(own, other, from, Math.min(size, rows - from), temperature));
      const next = tf.tidy(() => [tf.add(loss, block.loss), tf.add(top1, block.top1), tf.add(keys, block.keys)]);
      tf.dispose([loss, top1, keys, block.loss, block.top1, block.keys]);
      [loss, top1, keys] = next as [tf.Scalar, tf.Scalar, tf.Tensor2D];
      queries.push(block.queries);
    }
    const attracted = tf.sub(tf.add(tf.concat(queries, 0), keys), tf.mul(other, 2)); // [2N,C]
    (save as (tensors: tf.Tensor[]) => void)([tf.mul(attracted, 1 / (rows * temperature))]);
    const positive = tf.mean(tf.sum(tf.mul(own, other), 1));
    // All cosines without those of a row with itself and with its pair.
    const all = tf.sum(tf.square(tf.sum(own, 0)));
    const itself = tf.sum(tf.square(own));
    const negative = tf.div(tf.sub(tf.sub(all, itself), tf.mul(positive, rows)), Math.max(1, rows * (rows - 2)));
    measured = tf.keep(tf.stack([tf.div(top1, rows), positive, negative]) as tf.Tensor1D);
    return {
      value: tf.div(loss, rows) as tf.Scalar,
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => tf.mul(dy, saved[0] as tf.Tensor),
    };
  })(z) as tf.Scalar;
  const kept = measured as unknown as tf.Tensor1D;
  const metrics = kept.clone();
  tf.dispose([kept, pairs]);
  return { loss: value, metrics };
}

/** Rows [N, 2N) before rows [0, N). */
const swapHalves = (z: tf.Tensor2D): tf.Tensor2D => {
  const half = z.shape[0] / 2;
  return tf.concat([tf.slice(z, [half, 0]), tf.slice(z, [0, 0], [half, -1])], 0);
};

/** Of the queries [from, from + size). */
function ofBlock(z: tf.Tensor2D, pairs: tf.Tensor2D, from: number, size: number, temperature: number): Sums {
  const [rows, c] = z.shape;
  const queries = tf.slice(z, [from, 0], [size, c]); // [B,C]
  const positives = tf.slice(pairs, [from, 0], [size, c]); // [B,C]
  const positive = tf.div(tf.sum(tf.mul(queries, positives), 1), temperature); // [B]
  const places = tf.range(from, from + size, 1, "int32"); // [B]
  const without = (of: tf.Tensor1D) => tf.mul(tf.oneHot(of, rows), NEVER); // [B,2N]
  const logits = tf.add(tf.div(tf.matMul(queries, z, false, true), temperature), without(places)); // [B,2N]
  const total = tf.logSumExp(logits, 1); // [B]
  const share = tf.exp(tf.sub(logits, tf.expandDims(total, 1))) as tf.Tensor2D; // [B,2N]
  const partners = partnersOf(from, size, rows); // [B]
  const strongest = tf.max(tf.add(logits, without(partners)), 1); // [B]
  return {
    loss: tf.sum(tf.sub(total, positive)),
    top1: tf.sum(tf.cast(tf.greater(positive, strongest), "float32")),
    queries: tf.matMul(share, z),
    keys: tf.matMul(share, queries, true, false),
  };
}

/** (i + N) mod 2N for i in [from, from + size). */
function partnersOf(from: number, size: number, rows: number): tf.Tensor1D {
  const half = rows / 2;
  const [first, last] = [from, Math.min(from + size, half)];
  const [second, end] = [Math.max(from, half), from + size];
  const parts = [
    ...(last > first ? [tf.range(first + half, last + half, 1, "int32")] : []),
    ...(end > second ? [tf.range(second - half, end - half, 1, "int32")] : []),
  ];
  return tf.concat1d(parts);
}
