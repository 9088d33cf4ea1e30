/** What the presets of all methods share: encoder, data, monitor and the settings that no method has for itself. */
import type { CommonSpec } from "../common.ts";

type Recipe = Omit<CommonSpec, "dataset">;

/** ResNet-50 on ImageNet, as facebookresearch/moco trains it: 8 GPUs x 32 images, 200 epochs, SGD. */
export const imagenet: Recipe = {
  encoder: { arch: "resnet50", stem: "imagenet", width: 64 },
  batchSize: 256,
  splits: 8,
  norm: "split",
  epochs: 200,
  seed: 0,
  device: "auto",
  precision: "float32",
  logEvery: 20,
  optimizer: {
    algorithm: "sgd",
    lr: 0.03,
    momentum: 0.9,
    beta2: 0.999,
    weightDecay: 1e-4,
    schedule: "cosine",
    per: "epoch",
    warmup: 0,
    milestones: [120, 160],
  },
  augmentation: {
    size: 224,
    cropScale: [0.2, 1],
    flip: 0.5,
    jitter: { probability: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
    grey: 0.2,
    greyFirst: false,
    blur: 0.5,
    solarise: 0,
  },
  monitor: { everyEpochs: 1, k: 200, temperature: 0.1, features: "backbone", bank: 50_000, holdout: 5_000 },
  checkpoint: { everyEpochs: 1, everyMinutes: 10, keepLast: 2, keepBest: true, keepEvery: 0 },
};

/** ResNet-18 with the 3x3 stem on 32x32 images, as the authors' CIFAR-10 demo of MoCo. */
export const cifar: Recipe = {
  ...imagenet,
  encoder: { arch: "resnet18", stem: "cifar", width: 64 },
  batchSize: 512,
  optimizer: { ...imagenet.optimizer, lr: 0.06, weightDecay: 5e-4 },
  augmentation: { ...imagenet.augmentation, size: 32, cropScale: [0.08, 1], blur: 0 },
  monitor: { ...imagenet.monitor, features: "projection" },
};

/** What a CPU can learn in minutes: a narrow, short ResNet, light crops, small batches. */
export const small: Recipe = {
  ...cifar,
  encoder: { arch: "resnet10", stem: "cifar", width: 16 },
  batchSize: 64,
  epochs: 10,
  augmentation: { ...cifar.augmentation, size: 28, cropScale: [0.5, 1] },
  monitor: { ...imagenet.monitor, bank: 5_000, holdout: 2_000 },
};

/** lightly's CIFAR-10 benchmark (docs/source/getting_started/benchmarks/cifar10_benchmark.py), which all of its methods share. */
export const lightlyCifar: Recipe = {
  ...cifar,
  batchSize: 128,
  splits: 4,
  norm: "batch",
  // SimCLRCollateFunction: strength 0.5 of 0.8, 0.8, 0.8, 0.2.
  augmentation: {
    ...cifar.augmentation,
    jitter: { probability: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
  },
  monitor: { ...imagenet.monitor, features: "backbone" },
};

/** `small` for methods whose batch is normalised as a whole, by two threads. */
export const smallBatch: Recipe = {
  ...small,
  splits: 2,
  norm: "batch",
};
