/**
 * Losses over all pairs of images and texts of a batch, and their gradients, in blocks of rows: the matrix of all logits is never
 * in memory at once. N pairs, C dimension; x f32[N,C] of images, times the scale of the logits, y f32[N,C] of texts.
 */
import * as tf from "@tensorflow/tfjs-core";

/** Logits in memory at once. */
const BLOCK = 2 ** 22;

/** What a block of rows gives: the sum of its losses, the gradients by its rows of `a` and by all of `b`. */
interface BlockSums {
  loss: tf.Scalar;
  rows: tf.Tensor2D;
  others: tf.Tensor2D;
  bias?: tf.Scalar;
}

/** a f32[B,C] from row `from` on, b f32[N,C]. */
type OfBlock = (a: tf.Tensor2D, b: tf.Tensor2D, from: number) => BlockSums;

/** The mean over rows of a, b f32[N,C] of what `of` sums up; it has a gradient by both. */
function meanOfBlocks(a: tf.Tensor2D, b: tf.Tensor2D, bias: tf.Scalar | undefined, of: OfBlock): tf.Scalar {
  const [n, c] = a.shape;
  const size = Math.max(1, Math.min(n, Math.floor(BLOCK / n)));
  const inputs = bias ? [a, b, bias] : [a, b];
  return tf.customGrad((...given) => {
    const [left, right] = given as unknown as [tf.Tensor2D, tf.Tensor2D];
    const save = given.at(-1) as unknown as (tensors: tf.Tensor[]) => void;
    let sums = { loss: tf.scalar(0), others: tf.zerosLike(right), bias: tf.scalar(0) };
    const rows: tf.Tensor2D[] = [];
    for (let from = 0; from < n; from += size) {
      const before = sums;
      const { rows: ofRows, ...next } = tf.tidy(() => {
        const part = tf.slice(left, [from, 0], [Math.min(size, n - from), c]); // [B,C]
        const block = of(part, right, from);
        return {
          loss: tf.add(before.loss, block.loss) as tf.Scalar,
          others: tf.add(before.others, block.others) as tf.Tensor2D,
          bias: (block.bias ? tf.add(before.bias, block.bias) : before.bias.clone()) as tf.Scalar,
          rows: block.rows,
        };
      });
      rows.push(ofRows);
      tf.dispose(before);
      sums = next;
    }
    save([tf.div(tf.concat(rows, 0), n), tf.div(sums.others, n), tf.div(sums.bias, n)]);
    return {
      value: tf.div(sums.loss, n) as tf.Scalar,
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) =>
        inputs.map((_, i) => tf.mul(dy, saved[i] as tf.Tensor)) as unknown as tf.Tensor,
    };
  })(...inputs) as tf.Scalar;
}

/** Row by row: float32 loses too much in one sum of millions. f32[B,N] -> f32[] */
const sumOf = (x: tf.Tensor): tf.Scalar => tf.sum(tf.sum(x, 1));

/** 1 where a row of the block meets its own pair. f32[B,N] */
const ownPairs = (from: number, size: number, n: number): tf.Tensor2D =>
  tf.oneHot(tf.range(from, from + size, 1, "int32"), n) as tf.Tensor2D;

/** Mean over rows of -log softmax(a b^T) of a row's own pair. f32[N,C], f32[N,C] */
const crossEntropy = (a: tf.Tensor2D, b: tf.Tensor2D): tf.Scalar =>
  meanOfBlocks(a, b, undefined, (rows, all, from) => {
    const [size, n] = [rows.shape[0], all.shape[0]];
    const logits = tf.matMul(rows, all, false, true); // [B,N]
    const total = tf.logSumExp(logits, 1, true); // [B,1]
    const own = tf.cast(ownPairs(from, size, n), "float32");
    const difference = tf.sub(tf.exp(tf.sub(logits, total)), own) as tf.Tensor2D; // [B,N]
    return {
      loss: tf.sub(tf.sum(total), tf.sum(tf.mul(logits, own))),
      rows: tf.matMul(difference, all),
      others: tf.matMul(difference, rows, true, false),
    };
  });

/** CLIP's loss (Radford et al. 2021, figure 3): the mean of the cross-entropies of images among texts, and of texts among images. */
export const symmetricCrossEntropy = (x: tf.Tensor2D, y: tf.Tensor2D): tf.Scalar =>
  tf.mul(tf.add(crossEntropy(x, y), crossEntropy(y, x)), 0.5);

/**
 * SigLIP's loss (Zhai et al. 2023, eq. 1 and algorithm 1): each pair of an image and a text by itself is told to belong together
 * or not; summed over texts, averaged over images.
 */
export const sigmoidLoss = (x: tf.Tensor2D, y: tf.Tensor2D, bias: tf.Scalar): tf.Scalar =>
  meanOfBlocks(x, y, bias, (rows, all, from) => {
    const [size, n] = [rows.shape[0], all.shape[0]];
    const logits = tf.add(tf.matMul(rows, all, false, true), bias); // [B,N]
    const sign = tf.sub(tf.mul(tf.cast(ownPairs(from, size, n), "float32"), 2), 1); // 1 or -1
    const signed = tf.mul(logits, sign);
    // log(1 + exp(-s)) without overflow
    const losses = tf.add(tf.relu(tf.neg(signed)), tf.log(tf.add(tf.exp(tf.neg(tf.abs(signed))), 1)));
    const slope = tf.neg(tf.mul(sign, tf.sigmoid(tf.neg(signed)))) as tf.Tensor2D; // [B,N]
    return {
      loss: sumOf(losses),
      rows: tf.matMul(slope, all),
      others: tf.matMul(slope, rows, true, false),
      bias: sumOf(slope),
    };
  });

/**
 * Of unit rows: the share of images whose own text is the nearest, of texts whose own image is, the mean cosine of a pair, and of
 * an image with another's text. f32[4]
 */
export function pairMetrics(x: tf.Tensor2D, y: tf.Tensor2D): tf.Tensor1D {
  const n = x.shape[0];
  const size = Math.max(1, Math.min(n, Math.floor(BLOCK / n)));
  const nearest = (a: tf.Tensor2D, b: tf.Tensor2D): tf.Tensor => {
    const found = Array.from({ length: Math.ceil(n / size) }, (_, i) => {
      const from = i * size;
      const rows = tf.slice(a, [from, 0], [Math.min(size, n - from), -1]);
      const own = ownPairs(from, rows.shape[0], n);
      const cosines = tf.matMul(rows, b, false, true); // [B,N]
      const pair = tf.sum(tf.mul(cosines, tf.cast(own, "float32")), 1); // [B]
      const strongest = tf.max(tf.sub(cosines, tf.mul(tf.cast(own, "float32"), 1e9)), 1); // [B]
      return tf.sum(tf.cast(tf.greater(pair, strongest), "float32"));
    });
    return tf.div(tf.addN(found), n);
  };
  const positive = tf.sum(tf.mul(x, y)); // of all pairs
  const all = tf.sum(tf.mul(tf.sum(x, 0), tf.sum(y, 0)));
  const negative = tf.div(tf.sub(all, positive), Math.max(1, n * (n - 1)));
  return tf.stack([nearest(x, y), nearest(y, x), tf.div(positive, n), negative]) as tf.Tensor1D;
}
