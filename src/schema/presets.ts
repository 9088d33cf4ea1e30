import type { PretrainSpec } from "./pretrain.ts";

type Preset = Omit<PretrainSpec, "dataset">;

/**
 * facebookresearch/moco v2 on ImageNet: `--mlp --moco-t 0.2 --aug-plus --cos`, 200 epochs, 8 GPUs x 32.
 * 67.5 +- 0.1 linear top-1 there; not reachable on a CPU.
 */
const imagenet: Preset = {
  method: "moco-v2",
  encoder: { arch: "resnet50", stem: "imagenet", width: 64 },
  head: "mlp",
  dim: 128,
  queueSize: 65536,
  momentum: 0.999,
  temperature: 0.2,
  batchSize: 256,
  splits: 8,
  shuffle: true,
  symmetric: false,
  maskSameImage: false,
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

/** What MoCo v1's defaults differ in, on ImageNet: linear head, T 0.07, step schedule, stronger hue and no blur. */
const imagenetV1: Preset = {
  ...imagenet,
  method: "moco-v1",
  head: "linear",
  temperature: 0.07,
  optimizer: { ...imagenet.optimizer, schedule: "step" },
  augmentation: {
    ...imagenet.augmentation,
    jitter: { probability: 1, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.4 },
    greyFirst: true,
    blur: 0,
  },
};

/** The authors' CIFAR-10 demo: kNN 82.6 after 200 epochs on a V100 (their own log). */
const cifar: Preset = {
  ...imagenet,
  encoder: { arch: "resnet18", stem: "cifar", width: 64 },
  head: "linear",
  queueSize: 4096,
  momentum: 0.99,
  temperature: 0.1,
  batchSize: 512,
  optimizer: { ...imagenet.optimizer, lr: 0.06, weightDecay: 5e-4 },
  augmentation: { ...imagenet.augmentation, size: 32, cropScale: [0.08, 1], blur: 0 },
  monitor: { ...imagenet.monitor, features: "projection" },
};

/**
 * What a CPU can learn in minutes: a narrow, short ResNet, light crops, small batches.
 * Found on images held out of Fashion-MNIST's training set; see docs/decisions.md.
 */
const small: Preset = {
  ...cifar,
  encoder: { arch: "resnet10", stem: "cifar", width: 16 },
  head: "mlp",
  queueSize: 2048,
  batchSize: 64,
  epochs: 10,
  augmentation: {
    ...cifar.augmentation,
    size: 28,
    cropScale: [0.5, 1],
  },
  monitor: { ...imagenet.monitor, bank: 5_000, holdout: 2_000 },
};

/**
 * To add a preset: one line. v1 and v2 are one algorithm with other settings, so a preset that is neither
 * as published (`cifar`, `small`) is the same for both.
 */
export const presets = {
  imagenet: { "moco-v1": imagenetV1, "moco-v2": imagenet },
  cifar: { "moco-v1": { ...cifar, method: "moco-v1" }, "moco-v2": cifar },
  small: { "moco-v1": { ...small, method: "moco-v1" }, "moco-v2": small },
} as const satisfies Record<string, Record<PretrainSpec["method"], Preset>>;
export type PresetName = keyof typeof presets;
