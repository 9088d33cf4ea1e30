/** MoCo v3. */
import { z } from "zod";
import { byCosine } from "../../util/cosine.ts";
import { type CommonSpec, dimension, hiddenWidth, secondView } from "../common.ts";
import { isVit, vitDefaults } from "../encoder.ts";
import { atChance, collapsed, type Evidence, learning, percent, unstable } from "../verdict.ts";
import { methodSchema } from "./method.ts";
import * as recipes from "./recipes.ts";
import { momentumAgainstSteps, noisyBatchNorm, splitBatchNorm } from "./rules.ts";
import { temperatures } from "./temperatures.ts";

const shape = {
  method: z.literal("moco-v3"),
  dim: dimension,
  hidden: hiddenWidth,
  momentum: z.number().min(0).max(1).describe("m of the momentum encoder"),
  momentumSchedule: z.enum(["constant", "cosine"]).describe("cosine: momentum rises to 1 over the run (--moco-m-cos)"),
  ...temperatures,
  secondView,
};
export type MocoV3Spec = CommonSpec & z.infer<z.ZodObject<typeof shape>>;
type Preset = Omit<MocoV3Spec, "dataset">;

/** Two views of different augmentation, as BYOL's. */
const augmentation = {
  ...recipes.imagenet.augmentation,
  jitter: { probability: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 },
  blur: 1,
};

/** CONFIG.md, ResNet-50, 100 epochs: LARS 0.6 at batch 256 x 16, T 1, crops from 0.2, zero-init residual; 68.9 linear. */
const imagenet: Preset = {
  method: "moco-v3",
  ...recipes.imagenet,
  encoder: { arch: "resnet50", stem: "imagenet", width: 64, zeroInit: true },
  dim: 256,
  hidden: 4096,
  momentum: 0.99,
  momentumSchedule: "cosine",
  temperature: 1,
  batchSize: 4096,
  splits: 64,
  norm: "batch",
  epochs: 100,
  optimizer: { ...recipes.imagenet.optimizer, algorithm: "lars", lr: 9.6, weightDecay: 1e-6, per: "step", warmup: 10 },
  augmentation,
  secondView: { blur: 0.1, solarise: 0.2 },
};

/** README, ViT-S and ViT-B: AdamW 1.5e-4 at batch 256 x 16, decay 0.1, T 0.2, frozen patch projection; 73.2 and 76.7 linear. */
const vitOnImagenet = (arch: "vit-small" | "vit-base"): Preset => ({
  ...imagenet,
  encoder: vitDefaults(arch, 224),
  temperature: 0.2,
  epochs: 300,
  optimizer: { ...imagenet.optimizer, algorithm: "adamw", lr: 2.4e-3, weightDecay: 0.1, warmup: 40 },
  augmentation: { ...augmentation, cropScale: [0.08, 1] },
});

/** solo-learn's CIFAR-10 recipe (scripts/pretrain/cifar/mocov3.yaml): 93.1 online linear after 1000 epochs there. */
const cifar: Preset = {
  ...imagenet,
  ...recipes.lightlyCifar,
  temperature: 0.2,
  batchSize: 256,
  epochs: 1000,
  optimizer: {
    ...recipes.lightlyCifar.optimizer,
    algorithm: "lars",
    lr: 0.3,
    weightDecay: 1e-6,
    per: "step",
    warmup: 10,
  },
  augmentation: { ...recipes.lightlyCifar.augmentation, jitter: augmentation.jitter },
  secondView: { blur: 0, solarise: 0.2 },
};

/** A ViT for CPUs, searched on images held out of Fashion-MNIST's training set; see docs/decisions.md. */
const small: Preset = {
  ...cifar,
  ...recipes.smallBatch,
  encoder: { ...vitDefaults("vit-tiny", 28), patch: 7, width: 96, depth: 4, heads: 3, pool: "mean" },
  dim: 64,
  hidden: 256,
  momentum: 0.99,
  optimizer: {
    ...recipes.smallBatch.optimizer,
    algorithm: "adamw",
    lr: 2e-3,
    weightDecay: 0.1,
    per: "step",
    warmup: 1,
  },
  secondView: { blur: 0, solarise: 0 },
};

/** 2T times the cross-entropy of guessing among N keys, of both directions. */
const chanceOf = ({ temperature, finalTemperature = temperature, batchSize }: MocoV3Spec, { progress = 1 }: Evidence) =>
  4 * byCosine(temperature, finalTemperature, progress) * Math.log(batchSize);

const judge = (spec: MocoV3Spec, e: Evidence) =>
  collapsed(e, "lower optimizer.lr or raise momentum", e.metrics.negative) ??
  unstable(
    e,
    "lower optimizer.lr, give it more optimizer.warmup, freeze the patches (encoder.freezePatches) or clip (optimizer.clip)",
  ) ??
  atChance(e, chanceOf(spec, e), "4T log(N)", "give it more epochs, or lower optimizer.lr") ??
  learning(
    e,
    `loss ${e.loss.toFixed(2)} of ${chanceOf(spec, e).toFixed(2)} at chance, accuracy ${percent(e.metrics.top1 ?? 0)}`,
  );

export const mocoV3Schema = methodSchema<typeof shape>({
  shape,
  paper: "Chen, Xie and He 2021 (arXiv 2104.02057)",
  rules: [],
  shapes: ["dim", "hidden"],
  counted: [],
  metrics: ["top1", "positive", "negative"],
  watchesGradient: true,
  charts: [
    {
      title: "Norm of the gradient: first trained layer, last block",
      of: "steps",
      figures: ["gradientFirst", "gradientLast"],
    },
    { title: "Norm of the whole gradient", of: "steps", figures: ["gradientNorm"] },
    { title: "Cosine of a query with its key, and with other keys", of: "steps", figures: ["positive", "negative"] },
    { title: "Accuracy of finding the key in the batch", of: "steps", figures: ["top1"] },
  ],
  lint: [
    noisyBatchNorm,
    splitBatchNorm,
    momentumAgainstSteps("the momentum encoder"),
    function trainedPatches({ encoder }) {
      if (!isVit(encoder) || encoder.freezePatches || encoder.stem === "conv") return undefined;
      return {
        fields: ["encoder.freezePatches"],
        message:
          "freezePatches false: training is less stable, and accuracy lower by 0.4 to 1.7, the more so at higher rates " +
          "(section 4.2: spikes of the gradient begin in the patch projection)",
      };
    },
    function vitWithSgd({ encoder, optimizer }) {
      if (!isVit(encoder) || optimizer.algorithm === "adamw") return undefined;
      return {
        fields: ["optimizer.algorithm", "encoder.arch"],
        message: `optimizer.algorithm ${optimizer.algorithm} for a ViT: the paper trains them with adamw`,
      };
    },
  ],
  judge,
  presets: { imagenet: { "moco-v3": imagenet }, cifar: { "moco-v3": cifar }, small: { "moco-v3": small } },
  variants: { imagenet: { "vit-small": vitOnImagenet("vit-small"), "vit-base": vitOnImagenet("vit-base") } },
});
