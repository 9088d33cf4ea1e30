/** CLIP, and SigLIP's loss. */
import { z } from "zod";
import { type CommonSpec, dimension, type FieldRule, tapes } from "../common.ts";
import { hasTexts, TEXTS_ALLOWED } from "../dataset.ts";
import { vitDefaults } from "../encoder.ts";
import { type TextEncoderSpec, textEncoderSpec } from "../text_encoder.ts";
import { atChance, collapsed, type Evidence, learning, percent, type Verdict } from "../verdict.ts";
import { type Chart, methodSchema } from "./method.ts";
import * as recipes from "./recipes.ts";
import { noisyBatchNorm } from "./rules.ts";

/** Fields of every method on pairs of images and texts. */
export const pairsShape = {
  dim: dimension,
  text: textEncoderSpec.describe("the tower for texts"),
  temperature: z
    .number()
    .min(0.01)
    .max(1)
    .describe("T at first, by which cosines are divided; it is learned, and at least 0.01"),
} as const;

/** Rules of every method on pairs. */
export const pairsRules: readonly FieldRule<CommonSpec & { text: TextEncoderSpec }>[] = [
  {
    field: "dataset.texts",
    other: "dataset",
    holds: ({ dataset }) => hasTexts(dataset),
    allowed: () => `${TEXTS_ALLOWED}: the method is trained on pairs of images and texts`,
  },
  {
    field: "text.width",
    other: "text",
    holds: ({ text }) => text.width % text.heads === 0,
    allowed: ({ text }) => `must be a multiple of text.heads (${text.heads})`,
  },
];

const shape = {
  method: z.literal("clip"),
  loss: z
    .enum(["softmax", "sigmoid"])
    .describe(
      "softmax: each image is to find its text among all of the batch, and the other way round; sigmoid: SigLIP's",
    ),
  bias: z.number().min(-100).max(100).describe("of sigmoid, added to the logits; at first, it is learned"),
  tapes,
  ...pairsShape,
};
export type ClipSpec = CommonSpec & z.infer<z.ZodObject<typeof shape>>;
type Preset = Omit<ClipSpec, "dataset">;

const augmentation = {
  ...recipes.imagenet.augmentation,
  // CLIP's only augmentation is a random square crop (section 2.5).
  cropScale: [0.9, 1] as [number, number],
  flip: 0,
  jitter: { probability: 0, brightness: 0, contrast: 0, saturation: 0, hue: 0 },
  grey: 0,
  blur: 0,
};

/** OpenCLIP's recipe for Conceptual Captions (README, ViT-B/32): AdamW, 1e-3 at batch 1024, decay 0.1 of weights alone, 30 epochs. */
const imagenet: Preset = {
  method: "clip",
  ...recipes.imagenet,
  encoder: { ...vitDefaults("vit-base", 224), patch: 32, freezePatches: false, position: "learned" },
  text: { tokens: { kind: "bpe", vocabulary: 49_152 }, context: 77, width: 512, depth: 12, heads: 8, causal: true },
  dim: 512,
  loss: "softmax",
  bias: -10,
  tapes: "auto",
  temperature: 0.07,
  batchSize: 1024,
  splits: 16,
  epochs: 30,
  optimizer: {
    ...recipes.imagenet.optimizer,
    algorithm: "adamw",
    lr: 1e-3,
    momentum: 0.9,
    beta2: 0.98,
    weightDecay: 0.1,
    decayBiases: false,
    per: "step",
    warmup: 1,
  },
  augmentation,
};

/** `imagenet` for images of 32 pixels and texts of a line. */
const cifar: Preset = {
  ...imagenet,
  encoder: { ...vitDefaults("vit-tiny", 32), freezePatches: false, position: "learned" },
  text: { tokens: { kind: "bpe", vocabulary: 8192 }, context: 48, width: 256, depth: 6, heads: 8, causal: true },
  dim: 256,
  batchSize: 512,
  splits: 8,
  augmentation: { ...augmentation, size: 32, cropScale: [0.6, 1] },
};

/** What a CPU can learn in minutes from some thousand pictures with a line of text each. */
const small: Preset = {
  ...cifar,
  encoder: { arch: "resnet10", stem: "cifar", width: 16 },
  text: { tokens: { kind: "bpe", vocabulary: 2048 }, context: 32, width: 128, depth: 3, heads: 4, causal: true },
  dim: 128,
  batchSize: 128,
  splits: 2,
  norm: "batch",
  epochs: 20,
  optimizer: { ...cifar.optimizer, warmup: 2 },
  monitor: { ...recipes.small.monitor, features: "projection" },
};

export const pairsPresets = { imagenet, cifar, small };

const recallFigures = (of: "text" | "image") => ["at1", "at5", "at10"].map((k) => `recall.${of}.${k}`);
/** What is drawn of every method on pairs, by epoch. */
export const pairsCharts: readonly Chart[] = [
  { title: "Recall of held-out pairs: texts found by their images", of: "epochs", figures: recallFigures("text") },
  { title: "Recall of held-out pairs: images found by their texts", of: "epochs", figures: recallFigures("image") },
  { title: "Share of a batch's negatives that have the text of the pair", of: "epochs", figures: ["falseNegatives"] },
];

const charts: readonly Chart[] = [
  ...pairsCharts,
  {
    title: "Accuracy of finding the text of an image, and the image of a text",
    of: "steps",
    figures: ["top1", "top1Text"],
  },
  { title: "Cosine of an image with its text, and with other texts", of: "steps", figures: ["positive", "negative"] },
  { title: "Temperature", of: "steps", figures: ["temperature"] },
];

/** A batch in which every pair of images is told apart by softmax alone. */
const chanceOf = ({ batchSize }: CommonSpec) => Math.log(batchSize);

function judge(spec: ClipSpec, e: Evidence): Verdict {
  const { top1 = 0, top1Text = 0, negative } = e.metrics;
  const figures = `an image finds its text in ${percent(top1)} of cases among ${spec.batchSize}, a text its image in ${percent(top1Text)}`;
  const advice = "lower optimizer.lr, or give it more optimizer.warmup";
  return (
    collapsed(e, advice, negative) ??
    (spec.loss === "softmax"
      ? atChance(e, chanceOf(spec), "log(N)", `give it more epochs, or ${advice}`)
      : undefined) ??
    learning(e, `loss ${e.loss.toFixed(2)}, ${figures}`)
  );
}

export const clipSchema = methodSchema<typeof shape>({
  shape,
  paper: "Radford et al. 2021 (arXiv 2103.00020); loss sigmoid: Zhai et al. 2023 (arXiv 2303.15343)",
  rules: pairsRules,
  shapes: ["dim", "text", "loss"],
  counted: [],
  metrics: ["top1", "top1Text", "positive", "negative", "temperature"],
  charts,
  lint: [noisyBatchNorm],
  judge,
  presets: { imagenet: { clip: imagenet }, cifar: { clip: cifar }, small: { clip: small } },
});
