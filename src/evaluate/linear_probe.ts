/** Multinomial logistic regression on frozen features, by SGD as main_lincls.py has it. */
import * as tf from "@tensorflow/tfjs-core";
import { UserError } from "../util/errors.ts";
import { Stream } from "../util/random.ts";

export interface FitSettings {
  epochs: number;
  batchSize: number;
  lr: number;
  momentum: number;
  weightDecay: number;
  schedule: "cosine" | "step";
  seed: number;
}

/** The rate of an epoch (from 0): cosine, or the papers' x 0.1 at 60 and 80 of 100 epochs, in proportion. */
export function probeRate({ lr, epochs, schedule }: FitSettings, epoch: number): number {
  if (schedule === "cosine") return lr * 0.5 * (1 + Math.cos((Math.PI * epoch) / epochs));
  return lr * 0.1 ** [0.6, 0.8].filter((share) => epoch >= Math.round(share * epochs)).length;
}

/** Everything that training changes, by name. */
export type ClassifierState = Readonly<Record<"weights" | "bias" | "weightsVelocity" | "biasVelocity", Float32Array>>;

/** Weights f32[F, classes] and bias; one lifetime, ended by `dispose`. Weights start at N(0, 0.01), bias at 0. */
export class LinearClassifier {
  private readonly weights: tf.Variable;
  private readonly bias: tf.Variable;
  private readonly velocity: readonly [tf.Variable, tf.Variable];

  constructor(
    private readonly dim: number,
    private readonly classes: number,
    seed: number,
    initial?: Float32Array,
  ) {
    const random = new Stream(seed, "probe");
    const values = initial ?? Float32Array.from({ length: dim * classes }, () => 0.01 * random.normal());
    this.weights = tf.variable(tf.tensor2d(values, [dim, classes]));
    this.bias = tf.variable(tf.zeros([classes]));
    this.velocity = [tf.variable(tf.zeros([dim, classes])), tf.variable(tf.zeros([classes]))];
  }

  /** One step of SGD on the mean cross-entropy of features f32[n, F]. */
  step(
    rows: Float32Array,
    labels: ArrayLike<number>,
    { lr, momentum, weightDecay }: Omit<FitSettings, "epochs" | "batchSize" | "schedule" | "seed">,
  ): void {
    const n = labels.length;
    tf.tidy(() => {
      const batch = tf.tensor2d(rows, [n, this.dim]);
      const target = tf.oneHot(tf.tensor1d(Array.from(labels), "int32"), this.classes); // [n, classes]
      const error = tf.div(tf.sub(tf.softmax(this.logitsOf(batch)), target), n);
      const gradients = [tf.matMul(batch, error as tf.Tensor2D, true, false), tf.sum(error, 0)];
      [this.weights, this.bias].forEach((variable, i) => {
        const v = this.velocity[i] as tf.Variable;
        const g = tf.add(gradients[i] as tf.Tensor, tf.mul(variable, weightDecay));
        v.assign(tf.add(tf.mul(v, momentum), g));
        variable.assign(tf.sub(variable as tf.Tensor, tf.mul(v, lr)) as never);
      });
    });
  }

  /** f32[N, F] -> f32[N, classes] */
  logits(features: Float32Array): Float32Array {
    // The values must not leave through a tidy: it would walk the array element by element in search of tensors.
    const output = tf.tidy(() => this.logitsOf(tf.tensor2d(features, [features.length / this.dim, this.dim])));
    const values = output.dataSync() as Float32Array;
    output.dispose();
    return values;
  }

  /** f32[F, classes] */
  parameters(): { weights: Float32Array; bias: Float32Array } {
    return { weights: this.weights.dataSync() as Float32Array, bias: this.bias.dataSync() as Float32Array };
  }

  state(): ClassifierState {
    const [weightsVelocity, biasVelocity] = this.velocity.map((v) => v.dataSync() as Float32Array) as [
      Float32Array,
      Float32Array,
    ];
    return { ...this.parameters(), weightsVelocity, biasVelocity };
  }

  restore({ weights, bias, weightsVelocity, biasVelocity }: ClassifierState): void {
    const { dim, classes } = this;
    tf.tidy(() => {
      this.weights.assign(tf.tensor2d(weights, [dim, classes]));
      this.bias.assign(tf.tensor1d(bias));
      this.velocity[0].assign(tf.tensor2d(weightsVelocity, [dim, classes]));
      this.velocity[1].assign(tf.tensor1d(biasVelocity));
    });
  }

  dispose(): void {
    tf.dispose([this.weights, this.bias, ...this.velocity]);
  }

  private logitsOf(batch: tf.Tensor2D): tf.Tensor2D {
    return tf.add(tf.matMul(batch, this.weights as tf.Tensor as tf.Tensor2D), this.bias);
  }
}

/** How a fit continues, and what it calls between its epochs. */
export interface FitOptions {
  /** A classifier after so many epochs. */
  readonly begun?: { epoch: number; state: ClassifierState } | undefined;
  /** Awaited before every epoch and after the last, with the epochs that are done; may throw to stop. */
  readonly turn?: (epoch: number, classifier: LinearClassifier) => void | Promise<void>;
}

/**
 * Trains a classifier; `featuresOf` gives the features f32[N, F] of all images in an epoch. Throws where the weights
 * leave the finite numbers, naming the rate (moco#74, #90).
 */
export async function fitLinear(
  featuresOf: (epoch: number) => Float32Array | Promise<Float32Array>,
  labels: Int32Array,
  dim: number,
  classes: number,
  settings: FitSettings,
  { begun, turn = () => undefined }: FitOptions = {},
): Promise<LinearClassifier> {
  const classifier = new LinearClassifier(dim, classes, settings.seed);
  try {
    if (begun) classifier.restore(begun.state);
    for (let epoch = begun?.epoch ?? 0; epoch < settings.epochs; epoch++) {
      await turn(epoch, classifier);
      const x = await featuresOf(epoch);
      fitEpoch(classifier, x, labels, dim, settings, epoch);
    }
    await turn(settings.epochs, classifier);
    if (classifier.parameters().bias.every(Number.isFinite)) return classifier;
    throw new UserError(
      `the probe's weights are not finite with lr ${settings.lr}: lower spec.lr, or use protocol "fast"`,
    );
  } catch (error) {
    classifier.dispose();
    throw error;
  }
}

function fitEpoch(
  classifier: LinearClassifier,
  x: Float32Array,
  labels: Int32Array,
  dim: number,
  settings: FitSettings,
  epoch: number,
): void {
  const lr = probeRate(settings, epoch);
  const order = new Stream(settings.seed, "probe", 1, epoch).permutation(labels.length);
  for (let start = 0; start < labels.length; start += settings.batchSize) {
    const part = order.subarray(start, start + settings.batchSize);
    const rows = new Float32Array(part.length * dim);
    part.forEach((index, i) => {
      rows.set(x.subarray(index * dim, (index + 1) * dim), i * dim);
    });
    const target = part.map((index) => labels[index] as number);
    classifier.step(rows, target, { ...settings, lr });
  }
}

/** The map that gives each feature of `train` mean 0 and deviation 1: without it the best rate depends on the encoder. */
export function standardiser(train: Float32Array, dim: number): (features: Float32Array) => Float32Array {
  const rows = train.length / dim;
  const mean = new Float64Array(dim);
  const square = new Float64Array(dim);
  for (let at = 0; at < train.length; at += dim) {
    for (let i = 0; i < dim; i++) mean[i] = (mean[i] as number) + (train[at + i] as number) / rows;
  }
  for (let at = 0; at < train.length; at += dim) {
    for (let i = 0; i < dim; i++) {
      square[i] = (square[i] as number) + ((train[at + i] as number) - (mean[i] as number)) ** 2 / rows;
    }
  }
  const scale = square.map((v) => 1 / (Math.sqrt(v) + 1e-6));
  return (features) => {
    const out = new Float32Array(features.length);
    for (let at = 0; at < features.length; at += dim) {
      for (let i = 0; i < dim; i++) {
        out[at + i] = ((features[at + i] as number) - (mean[i] as number)) * (scale[i] as number);
      }
    }
    return out;
  };
}
