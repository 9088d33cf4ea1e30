/** BYOL. */
import { z } from "zod";
import { type CommonSpec, dimension, hiddenWidth, secondView } from "../common.ts";
import { collapsed, type Evidence, learning } from "../verdict.ts";
import { methodSchema } from "./method.ts";
import * as recipes from "./recipes.ts";
import { momentumAgainstSteps, noisyBatchNorm, splitBatchNorm } from "./rules.ts";

const shape = {
  method: z.literal("byol"),
  dim: dimension,
  hidden: hiddenWidth,
  momentum: z.number().min(0).max(1).describe("of the target network at first; it rises to 1 by a cosine over the run"),
  secondView,
};
export type ByolSpec = CommonSpec & z.infer<z.ZodObject<typeof shape>>;
type Preset = Omit<ByolSpec, "dataset">;

/** The paper on ImageNet (section 3.3, appendix J): LARS 0.2 x 16, batch 4096, tau 0.996; 74.3 after 1000 epochs. */
const imagenet: Preset = {
  method: "byol",
  ...recipes.imagenet,
  dim: 256,
  hidden: 4096,
  momentum: 0.996,
  batchSize: 4096,
  splits: 64,
  norm: "batch",
  epochs: 1000,
  optimizer: {
    ...recipes.imagenet.optimizer,
    algorithm: "lars",
    lr: 3.2,
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
};

/**
 * lightly's CIFAR-10 benchmark: heads of 1024 and 256; kNN 86.9 after 200 epochs there. Its loss is a quarter of the paper's,
 * so its rate of 0.06 is 0.015 here, and its decay of 5e-4 is 2e-3.
 */
const cifar: Preset = {
  method: "byol",
  ...recipes.lightlyCifar,
  dim: 256,
  hidden: 1024,
  momentum: 0.99,
  optimizer: { ...recipes.lightlyCifar.optimizer, lr: 0.015, weightDecay: 2e-3 },
  secondView: { blur: 0, solarise: 0 },
};

/** `cifar` made narrow, for CPUs; batch, rate and momentum were searched, see docs/decisions.md. */
const small: Preset = {
  ...cifar,
  ...recipes.smallBatch,
  dim: 128,
  hidden: 256,
  momentum: 0.95,
  optimizer: { ...recipes.smallBatch.optimizer, lr: 0.1, weightDecay: 1e-3 },
};

const figures = ({ loss, spread }: Evidence) =>
  `loss ${loss.toFixed(2)} of 4 for unrelated predictions${spread ? `, deviation of the projections ${spread.std.toFixed(2)} of 1` : ""}`;

export const byolSchema = methodSchema<typeof shape>({
  shape,
  paper: "Grill et al. 2020 (arXiv 2006.07733)",
  rules: [],
  shapes: ["dim", "hidden"],
  counted: [],
  metrics: ["positive"],
  charts: [
    { title: "Cosine of predictions with their targets", of: "steps", figures: ["positive"] },
    { title: "Deviation of the projections: 0 is collapse, 1 is even", of: "epochs", figures: ["spread.std"] },
  ],
  lint: [
    noisyBatchNorm,
    splitBatchNorm,
    momentumAgainstSteps("the target network"),
    function fixedTarget({ momentum }) {
      if (momentum > 0 && momentum < 1) return undefined;
      const message =
        momentum === 0
          ? "momentum 0: the target is the online network, which collapses (table 5a: 0.3)"
          : "momentum 1: the target network stays random (table 5a: 18.8)";
      return { fields: ["momentum"], message };
    },
  ],
  judge: (_, e) =>
    collapsed(e, "raise momentum, or lower optimizer.lr; the predictor needs its batch norm") ??
    learning(e, figures(e)),
  presets: { imagenet: { byol: imagenet }, cifar: { byol: cifar }, small: { byol: small } },
});
