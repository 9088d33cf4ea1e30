/** SimSiam. */
import { z } from "zod";
import { type CommonSpec, dimension, hiddenWidth, secondView, tapes } from "../common.ts";
import { collapsed, type Evidence, learning } from "../verdict.ts";
import { methodSchema } from "./method.ts";
import * as recipes from "./recipes.ts";
import { noisyBatchNorm, splitBatchNorm } from "./rules.ts";

const shape = {
  method: z.literal("simsiam"),
  dim: dimension,
  hidden: hiddenWidth,
  layers: z.int().min(2).max(3).describe("of the projector: 3, for CIFAR 2"),
  bottleneck: z.int().min(2).max(4096).describe("width of the predictor's hidden layer: a quarter of dim"),
  predictorRate: z.enum(["constant", "scheduled"]).describe("whether the predictor's rate stays at optimizer.lr"),
  secondView,
  tapes,
};
export type SimsiamSpec = CommonSpec & z.infer<z.ZodObject<typeof shape>>;
type Preset = Omit<SimsiamSpec, "dataset">;

/** The paper on ImageNet (section 4): SGD 0.05 at batch 256 x 2, 100 epochs. */
const imagenet: Preset = {
  method: "simsiam",
  ...recipes.imagenet,
  dim: 2048,
  hidden: 2048,
  layers: 3,
  bottleneck: 512,
  predictorRate: "constant",
  batchSize: 512,
  norm: "batch",
  epochs: 100,
  optimizer: { ...recipes.imagenet.optimizer, lr: 0.1 },
  secondView: { blur: 0.5, solarise: 0 },
  tapes: "auto",
};

/** lightly's CIFAR-10 benchmark: two layers of 2048, predictor of 512; kNN 81.9 after 200 epochs there. */
const cifar: Preset = {
  method: "simsiam",
  ...recipes.lightlyCifar,
  dim: 2048,
  hidden: 2048,
  layers: 2,
  bottleneck: 512,
  predictorRate: "scheduled",
  secondView: { blur: 0, solarise: 0 },
  tapes: "auto",
};

/** `cifar` made narrow, for CPUs; batch and rate were searched, see docs/decisions.md. */
const small: Preset = {
  ...cifar,
  ...recipes.smallBatch,
  dim: 256,
  hidden: 256,
  bottleneck: 64,
  optimizer: { ...recipes.smallBatch.optimizer, lr: 0.48 },
};

const figures = ({ loss, metrics }: Evidence) =>
  `loss ${loss.toFixed(2)} of -1 at best, deviation of the projections ${(metrics.std ?? 0).toFixed(2)} of 1`;

export const simsiamSchema = methodSchema<typeof shape>({
  shape,
  paper: "Chen and He 2021 (arXiv 2011.10566)",
  rules: [],
  shapes: ["dim", "hidden", "layers", "bottleneck"],
  counted: [],
  metrics: ["positive", "std"],
  charts: [
    { title: "Cosine of predictions with the other view", of: "steps", figures: ["positive"] },
    { title: "Deviation of the projections: 0 is collapse, 1 is even", of: "steps", figures: ["std"] },
  ],
  lint: [
    noisyBatchNorm,
    splitBatchNorm,
    function wideBottleneck({ bottleneck, dim }) {
      if (bottleneck <= dim / 2) return undefined;
      return {
        fields: ["bottleneck", "dim"],
        message: `bottleneck ${bottleneck} is no bottleneck for dim ${dim}: the paper's predictor has a quarter`,
      };
    },
  ],
  judge: (_, e) =>
    collapsed(e, "lower optimizer.lr; the predictor and the norms of its projector keep it from that") ??
    learning(e, figures(e)),
  presets: { imagenet: { simsiam: imagenet }, cifar: { simsiam: cifar }, small: { simsiam: small } },
});
