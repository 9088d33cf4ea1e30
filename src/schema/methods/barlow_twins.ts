/** Barlow Twins. */
import { z } from "zod";
import { type CommonSpec, hiddenWidth, secondView, tapes } from "../common.ts";
import { collapsed, type Evidence, learning } from "../verdict.ts";
import { methodSchema } from "./method.ts";
import * as recipes from "./recipes.ts";
import { noisyBatchNorm, splitBatchNorm } from "./rules.ts";

const shape = {
  method: z.literal("barlow-twins"),
  dim: z.int().min(2).max(8192).describe("D, dimension of the projections; the loss holds some matrices of D x D"),
  hidden: hiddenWidth,
  layers: z.int().min(2).max(3).describe("of the projector: 3, for CIFAR 2"),
  lambda: z.number().gt(0).max(1).describe("weight of the correlations between different coordinates"),
  secondView,
  tapes,
};
export type BarlowTwinsSpec = CommonSpec & z.infer<z.ZodObject<typeof shape>>;
type Preset = Omit<BarlowTwinsSpec, "dataset">;

/** The paper on ImageNet (section 2.2): LARS, batch 2048, D 8192, lambda 0.005; 73.2 after 1000 epochs. */
const imagenet: Preset = {
  method: "barlow-twins",
  ...recipes.imagenet,
  dim: 8192,
  hidden: 8192,
  layers: 3,
  lambda: 0.005,
  batchSize: 2048,
  splits: 64,
  norm: "batch",
  epochs: 1000,
  optimizer: {
    ...recipes.imagenet.optimizer,
    algorithm: "lars",
    lr: 1.6,
    weightDecay: 1.5e-6,
    per: "step",
    warmup: 10,
  },
  augmentation: {
    ...recipes.imagenet.augmentation,
    cropScale: [0.08, 1],
    jitter: { probability: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 },
    blur: 1,
  },
  secondView: { blur: 0.1, solarise: 0.2 },
  tapes: "auto",
};

/** lightly's CIFAR-10 benchmark: two layers of 2048, lambda 0.005; solo-learn has 92.1 online linear after 1000 epochs. */
const cifar: Preset = {
  method: "barlow-twins",
  ...recipes.lightlyCifar,
  dim: 2048,
  hidden: 2048,
  layers: 2,
  lambda: 0.005,
  secondView: { blur: 0, solarise: 0 },
  tapes: "auto",
};

/** `cifar` made narrow, for CPUs; batch and rate were searched, see docs/decisions.md. */
const small: Preset = {
  ...cifar,
  ...recipes.smallBatch,
  dim: 256,
  hidden: 256,
  lambda: 0.02,
  optimizer: { ...recipes.smallBatch.optimizer, lr: 0.001 },
};

const figures = ({ loss, metrics }: Evidence) =>
  `loss ${loss.toPrecision(3)}, correlation of the views ${(metrics.invariance ?? 0).toFixed(2)} of 1, ` +
  `of different coordinates ${(metrics.redundancy ?? 0).toFixed(2)} of 0`;

export const barlowTwinsSchema = methodSchema<typeof shape>({
  shape,
  paper: "Zbontar et al. 2021 (arXiv 2103.03230)",
  rules: [],
  shapes: ["dim", "hidden", "layers"],
  counted: [],
  metrics: ["invariance", "redundancy"],
  charts: [
    {
      title: "Correlation of the views in a coordinate, and between different ones",
      of: "steps",
      figures: ["invariance", "redundancy"],
    },
  ],
  lint: [
    noisyBatchNorm,
    splitBatchNorm,
    function fewSamples({ batchSize, dim }) {
      if (32 * batchSize >= dim) return undefined; // 256 images for 8192 are the least that the paper tries
      return {
        fields: ["batchSize", "dim"],
        message:
          `the ${dim} x ${dim} correlations are estimated from ${batchSize} images: mostly noise; ` +
          "raise batchSize or lower dim (the paper has 2048 images for 8192)",
      };
    },
  ],
  judge: (_, e) => collapsed(e, "lower optimizer.lr") ?? learning(e, figures(e)),
  presets: {
    imagenet: { "barlow-twins": imagenet },
    cifar: { "barlow-twins": cifar },
    small: { "barlow-twins": small },
  },
});
