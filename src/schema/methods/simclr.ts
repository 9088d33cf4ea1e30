/** SimCLR. */
import { z } from "zod";
import { type CommonSpec, dimension, hiddenWidth, secondView, tapes } from "../common.ts";
import { atChance, collapsed, learning, percent } from "../verdict.ts";
import { methodSchema } from "./method.ts";
import * as recipes from "./recipes.ts";
import { noisyBatchNorm, splitBatchNorm } from "./rules.ts";
import { temperatures } from "./temperatures.ts";

const shape = {
  method: z.literal("simclr"),
  dim: dimension,
  hidden: hiddenWidth,
  ...temperatures,
  secondView,
  tapes,
};
export type SimclrSpec = CommonSpec & z.infer<z.ZodObject<typeof shape>>;
type Preset = Omit<SimclrSpec, "dataset">;

/** The paper on ImageNet (section 2, appendix B.9): batch 4096, LARS, 10 epochs of warm-up; T 0.1; 69.3 after 1000 epochs. */
const imagenet: Preset = {
  method: "simclr",
  ...recipes.imagenet,
  dim: 128,
  hidden: 2048,
  temperature: 0.1,
  batchSize: 4096,
  splits: 64,
  norm: "batch",
  epochs: 1000,
  optimizer: { ...recipes.imagenet.optimizer, algorithm: "lars", lr: 4.8, weightDecay: 1e-6, per: "step", warmup: 10 },
  augmentation: {
    ...recipes.imagenet.augmentation,
    cropScale: [0.08, 1],
    // Colour distortion of strength 1: 0.8, 0.8, 0.8, 0.2.
    jitter: { probability: 0.8, brightness: 0.8, contrast: 0.8, saturation: 0.8, hue: 0.2 },
  },
  secondView: { blur: 0.5, solarise: 0 },
  tapes: "auto",
};

/** lightly's CIFAR-10 benchmark: T 0.5, head 512-512-128; kNN 84.7 after 200 epochs there. */
const cifar: Preset = {
  method: "simclr",
  ...recipes.lightlyCifar,
  dim: 128,
  hidden: 512,
  temperature: 0.5,
  secondView: { blur: 0, solarise: 0 },
  tapes: "auto",
};

/** `cifar` made narrow, for CPUs; batch, rate and temperature were searched, see docs/decisions.md. */
const small: Preset = { ...cifar, ...recipes.smallBatch, hidden: 128, temperature: 0.2 };

/** Every view is to be told from 2N - 2 others and found among 2N - 1. */
const chanceOf = ({ batchSize }: CommonSpec) => Math.log(2 * batchSize - 1);

export const simclrSchema = methodSchema<typeof shape>({
  shape,
  paper: "Chen et al. 2020 (arXiv 2002.05709)",
  rules: [],
  shapes: ["dim", "hidden"],
  counted: [],
  metrics: ["top1", "positive", "negative"],
  charts: [
    { title: "Cosine with the other view, and with other images", of: "steps", figures: ["positive", "negative"] },
    { title: "Accuracy of finding the other view in the batch", of: "steps", figures: ["top1"] },
  ],
  lint: [
    noisyBatchNorm,
    splitBatchNorm,
    function fewNegatives({ batchSize }) {
      if (batchSize >= 64) return undefined; // on small images 64 with more steps did as well as 128, docs/decisions.md
      return {
        fields: ["batchSize"],
        message:
          `batchSize ${batchSize} gives ${2 * batchSize - 2} negatives, all of them of this batch: the paper's accuracy rises up to ` +
          "batches of thousands, most of all in short runs (figure 9); raise it, or take a method with a queue",
      };
    },
    function temperatureOutOfRange({ temperature }) {
      if (temperature <= 1 && temperature >= 0.05) return undefined;
      return {
        fields: ["temperature"],
        message: `temperature ${temperature}: of 0.05, 0.1, 0.5 and 1 the paper's best is 0.1 (table 5)`,
      };
    },
  ],
  judge: (spec, e) =>
    collapsed(e, "lower optimizer.lr or temperature", e.metrics.negative) ??
    atChance(e, chanceOf(spec), "log(2N-1)", "give it more epochs, or lower optimizer.lr or temperature") ??
    learning(
      e,
      `loss ${e.loss.toFixed(2)} of ${chanceOf(spec).toFixed(2)} at chance, accuracy ${percent(e.metrics.top1 ?? 0)}`,
    ),
  presets: { imagenet: { simclr: imagenet }, cifar: { simclr: cifar }, small: { simclr: small } },
});
