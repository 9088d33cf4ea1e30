import * as tf from "@tensorflow/tfjs-core";
import { Stream } from "../util/random.ts";
import { type Labelled, topK } from "./knn.ts";

export interface ProbeSettings {
  epochs: number;
  batchSize: number;
  lr: number;
  momentum: number;
  weightDecay: number;
  seed: number;
}

export interface ProbeResult {
  top1: number;
  top5: number;
}

/** Mean and standard deviation of each feature over the training rows. */
function statistics(features: Float32Array, dim: number): { mean: Float64Array; std: Float64Array } {
  const rows = features.length / dim;
  const mean = new Float64Array(dim);
  const square = new Float64Array(dim);
  features.forEach((v, i) => {
    mean[i % dim] = (mean[i % dim] as number) + v / rows;
  });
  features.forEach((v, i) => {
    square[i % dim] = (square[i % dim] as number) + (v - (mean[i % dim] as number)) ** 2 / rows;
  });
  return { mean, std: square.map((v) => Math.sqrt(v) + 1e-6) };
}

/**
 * Multinomial logistic regression on frozen, standardised features: SGD with momentum, cosine by epoch. The
 * reference needs lr 30 because its features are not standardised (moco#74, #90).
 * Weights start at N(0, 0.01), as main_lincls.py. Returns top-1 and top-5 in [0, 1] on `test`.
 */
export function linearProbe(
  train: Labelled,
  test: Labelled,
  dim: number,
  classes: number,
  s: ProbeSettings,
): ProbeResult {
  const { mean, std } = statistics(train.features, dim);
  const standard = (features: Float32Array) =>
    features.map((v, i) => (v - (mean[i % dim] as number)) / (std[i % dim] as number));
  const x = standard(train.features);
  const random = new Stream(s.seed, "probe");
  const weights = tf.variable(
    tf.tensor2d(
      Float32Array.from({ length: dim * classes }, () => 0.01 * random.normal()),
      [dim, classes],
    ),
  );
  const bias = tf.variable(tf.zeros([classes]));
  const velocity = [tf.variable(tf.zeros([dim, classes])), tf.variable(tf.zeros([classes]))];
  const count = train.labels.length;
  for (let epoch = 0; epoch < s.epochs; epoch++) {
    const lr = s.lr * 0.5 * (1 + Math.cos((Math.PI * epoch) / s.epochs));
    const order = new Stream(s.seed, "probe", 1, epoch).permutation(count);
    for (let start = 0; start < count; start += s.batchSize) {
      const part = order.subarray(start, start + s.batchSize);
      const rows = new Float32Array(part.length * dim);
      const target = new Float32Array(part.length * classes);
      part.forEach((index, i) => {
        rows.set(x.subarray(index * dim, (index + 1) * dim), i * dim);
        target[i * classes + (train.labels[index] as number)] = 1;
      });
      tf.tidy(() => {
        const batch = tf.tensor2d(rows, [part.length, dim]);
        const probabilities = tf.softmax(tf.add(tf.matMul(batch, weights), bias) as tf.Tensor2D); // [n, classes]
        const error = tf.div(tf.sub(probabilities, tf.tensor2d(target, [part.length, classes])), part.length);
        const gradients = [tf.matMul(batch, error as tf.Tensor2D, true, false), tf.sum(error, 0)];
        [weights, bias].forEach((variable, i) => {
          const v = velocity[i] as tf.Variable;
          const g = tf.add(gradients[i] as tf.Tensor, tf.mul(variable, s.weightDecay));
          v.assign(tf.add(tf.mul(v, s.momentum), g));
          variable.assign(tf.sub(variable as tf.Tensor, tf.mul(v, lr)) as never);
        });
      });
    }
  }
  // The values must not leave through a tidy: it would walk the array element by element in search of tensors.
  const output = tf.tidy(() => {
    const rows = tf.tensor2d(standard(test.features), [test.labels.length, dim]);
    return tf.add(tf.matMul(rows, weights), bias); // [N, classes]
  });
  const logits = output.dataSync() as Float32Array;
  tf.dispose([weights, bias, output, ...velocity]);
  let top1 = 0;
  let top5 = 0;
  test.labels.forEach((label, i) => {
    const best = topK(logits.subarray(i * classes, (i + 1) * classes), Math.min(5, classes));
    if (best[0] === label) top1++;
    if (best.includes(label)) top5++;
  });
  return { top1: top1 / test.labels.length, top5: top5 / test.labels.length };
}
