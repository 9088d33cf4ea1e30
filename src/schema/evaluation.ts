/** The jobs that judge or use a pretrained encoder. To add one: a schema here, a line in `job.ts`, a run in `train`. */
import { z } from "zod";
import { datasetSpec, hasTexts, TEXTS_ALLOWED } from "./dataset.ts";

const from = z
  .string()
  .regex(/^run_[0-9a-z]+$/, "must be the id of a pretrain job")
  .describe("the pretrain job");
const dataset = datasetSpec.optional().describe("labelled images; unset: those of the pretrain job");
const seed = z.int().min(0).max(0xffffffff).default(0);
const baselines = z.boolean().default(true).describe("also raw pixels and the untrained encoder");
const centreCrop = z
  .number()
  .gt(0)
  .max(1)
  .default(1)
  .describe("share of the shorter side that evaluation looks at; 0.875 is ImageNet's 224 of 256");
const validation = z
  .number()
  .gt(0)
  .max(0.5)
  .default(0.1)
  .describe("share of the training images on which a setting is chosen where several are given");
/** Of a run's networks: the one that the loss trains, or its moving average where the method keeps one. */
export type WhichEncoder = "trained" | "average";
/** `query` and `key` are what MoCo calls them, and what earlier specs say. */
export const encoderNames = ["trained", "average", "query", "key"] as const;
export const whichEncoder = (name: (typeof encoderNames)[number]): WhichEncoder =>
  name === "key" || name === "average" ? "average" : "trained";
const encoder = z
  .enum(encoderNames)
  .default("trained")
  .transform(whichEncoder)
  .describe("trained: the network that the loss trains; average: its moving average, where the method keeps one");
const checkpoint = z
  .union([
    z.enum(["last", "best"]),
    z.strictObject({ epoch: z.int().min(1) }),
    z.strictObject({ step: z.int().min(0) }),
  ])
  .default("last")
  .describe("which of the pretrain job's; best: by the monitor's kNN; epoch: the one at its end")
  .meta({ examples: ["best", { epoch: 5 }] });
const momentum = z.number().min(0).lt(1).default(0.9);
const batchSize = z.int().min(1).max(65_536);

const blocks = z
  .int()
  .min(1)
  .max(64)
  .default(1)
  .describe(
    "of a ViT: features are those of so many of its last blocks, side by side; DINO's linear evaluation takes 4",
  );

/** Which encoder, on which images. */
const judged = { from, dataset, encoder, checkpoint };

/** One value, or several of which the best is chosen on a validation split carved from the training images. */
const oneOrMore = <T extends z.ZodType<number>>(value: T) =>
  z
    .union([value, z.array(value).min(1).max(20)])
    .transform((given): number[] => (Array.isArray(given) ? given : [given as number]));

const lr = oneOrMore(z.number().gt(0).max(1000));
const weightDecay = oneOrMore(z.number().min(0).max(1));

/** A linear classifier on frozen features. */
export const probeSpec = z.strictObject({
  ...judged,
  blocks,
  protocol: z
    .enum(["fast", "paper"])
    .describe("fast: cached, standardised features; paper: new random crops and flips each epoch, as main_lincls.py"),
  epochs: z.int().min(1).max(10_000),
  batchSize,
  lr,
  momentum,
  weightDecay,
  schedule: z.enum(["cosine", "step"]).describe("step: x 0.1 at 60% and 80% of the epochs"),
  seed,
  knn: z
    .strictObject({ k: z.int().min(1).default(200), temperature: z.number().gt(0).default(0.1) })
    .default({ k: 200, temperature: 0.1 }),
  validation,
  centreCrop,
  baselines,
});
export type ProbeSpec = z.infer<typeof probeSpec>;

/** What a probe's protocol sets where the request does not. `paper`: main_lincls.py's defaults. */
export const protocols = {
  fast: { epochs: 30, batchSize: 256, lr: [0.03, 0.1, 0.3], weightDecay: 0, schedule: "cosine" },
  paper: { epochs: 100, batchSize: 256, lr: 30, weightDecay: 0, schedule: "step" },
} as const;

/** Weighted kNN (Wu et al. 2018): no training at all. */
export const knnSpec = z.strictObject({
  ...judged,
  k: oneOrMore(z.int().min(1).max(10_000)).default([20, 200]),
  temperature: oneOrMore(z.number().gt(0).max(10)).default([0.1]),
  features: z.enum(["backbone", "projection"]).default("backbone"),
  blocks,
  seed,
  validation,
  centreCrop,
  baselines,
});
export type KnnSpec = z.infer<typeof knnSpec>;

/** All weights trained on, with a new classifier on top. */
export const fineTuneSpec = z.strictObject({
  ...judged,
  labels: z.number().gt(0).max(1).default(1).describe("share of the training labels used, of every class alike"),
  epochs: z.int().min(1).max(10_000).default(30),
  batchSize: z.int().min(2).max(8192).default(64),
  lr: lr.default([0.03]).describe("of the classifier and, times layerDecay for every stage below, of the encoder"),
  layerDecay: z.number().min(0).max(1).default(0.8).describe("1: one rate for all; 0: the encoder is frozen"),
  momentum,
  weightDecay: weightDecay.default([1e-4]),
  cropScale: z.tuple([z.number().gt(0).max(1), z.number().gt(0).max(1)]).default([0.3, 1]),
  flip: z.number().min(0).max(1).default(0.5),
  seed,
  validation,
  baselines,
});
export type FineTuneSpec = z.infer<typeof fineTuneSpec>;

/** Where the name of a class goes in a template. */
export const PLACEHOLDER = "{}";

/** Classification by the names of classes alone, of a method with a text tower. */
export const zeroShotSpec = z.strictObject({
  ...judged,
  split: z.enum(["train", "test"]).default("test"),
  classes: z
    .union(
      [z.literal("dataset"), z.array(z.string().trim().min(1).max(500)).min(2)],
      '"dataset", or the names of two classes or more, each of 1 to 500 characters',
    )
    .describe('names in the order of the dataset\'s classes; or "dataset": its own names, as of a folder')
    .meta({ examples: [["T-shirt", "trouser"]] }),
  templates: z
    .array(
      z.string().refine((template) => template.includes(PLACEHOLDER), `a text with ${PLACEHOLDER} where the name goes`),
    )
    .min(1)
    .max(200)
    .default([PLACEHOLDER])
    .describe("prompts; a class is the mean of what they give with its name")
    .meta({ examples: [["a photo of a {}.", "a drawing of a {}."]] }),
  centreCrop,
});
export type ZeroShotSpec = z.infer<typeof zeroShotSpec>;

/** Texts found by their images, and images by their texts, of a method with a text tower. */
export const retrievalSpec = z.strictObject({
  ...judged,
  dataset: datasetSpec
    .optional()
    .refine((of) => of === undefined || hasTexts(of), {
      path: ["texts"],
      error: `${TEXTS_ALLOWED}: a retrieval is of images with texts`,
    })
    .describe("images with texts; unset: those of the pretrain job"),
  split: z.enum(["train", "test"]).default("test"),
  images: z.int().min(2).max(1_000_000).optional().describe("how many, drawn by `seed`; unset: all"),
  seed,
  centreCrop,
});
export type RetrievalSpec = z.infer<typeof retrievalSpec>;

/** gallery.json of a retrieval job: some images with their texts, to be looked at. */
export interface Gallery {
  /** Numbers of the images in the dataset's split, ascending; what is of each image is in their order. */
  images: number[];
  /** The texts that are named below, by their places here. */
  texts: string[];
  /** Of each image its own texts. */
  own: number[][];
  /** Of each image the texts with the highest cosine, nearest first. */
  nearest: [text: number, cosine: number][][];
  /** Some texts, each with the images with the highest cosine by their places here, nearest first. */
  queries: { text: number; images: [place: number, cosine: number][] }[];
  /** In thumbnails.png: the side of each in pixels, and how many there are in a row. */
  thumbnails: { size: number; columns: number };
}

/** An image that a search has found. */
export interface FoundImage {
  /** Its number in the dataset's split. */
  image: number;
  cosine: number;
  /** Its own texts. */
  texts: string[];
  /** Its place in gallery.json and thumbnails.png; null: it is not among those. */
  place: number | null;
}

/** Characters of a sentence that is searched by. */
export const LONGEST_QUERY = 1000;
/** Most images that a search answers with. */
export const MOST_FOUND = 100;

/** Some images as the encoder sees them, to be looked at: in a plane, with their neighbours. */
export const mapSpec = z.strictObject({
  ...judged,
  split: z.enum(["train", "test"]).default("train"),
  features: z.enum(["backbone", "projection"]).default("backbone"),
  blocks,
  images: z.int().min(16).max(5000).default(1000).describe("how many, drawn by `seed`"),
  neighbours: z.int().min(1).max(50).default(12).describe("of each image"),
  views: z.int().min(0).max(64).default(8).describe("training images of which the two augmented views are drawn"),
  seed,
});
export type MapSpec = z.infer<typeof mapSpec>;

/** map.json of a map job. */
export interface ImageMap {
  /** Numbers of the images in the dataset's split; everything else is in their order. */
  images: number[];
  labels: number[] | null;
  classes: readonly string[];
  pca: [number, number][];
  umap: [number, number][];
  /** Of each image the places (not the numbers) of those with the highest cosine, nearest first. */
  neighbours: number[][];
  /** In thumbnails.png: the side of each in pixels, and how many there are in a row. */
  thumbnails: { size: number; columns: number };
}

/** How an encoder is written for others. */
export const exportFormats = ["torchvision", "timm", "moco", "openclip", "onnx"] as const;
export type ExportFormat = (typeof exportFormats)[number];

/** An encoder as a file for PyTorch or ONNX. */
export const exportSpec = z.strictObject({
  from,
  encoder: encoder.describe("trained, or its moving average; `moco` writes both"),
  checkpoint,
  format: z
    .enum(exportFormats)
    .default("torchvision")
    .describe(
      "torchvision, timm, moco and openclip: safetensors with their names; openclip: both towers of a method on pairs",
    ),
});
export type ExportSpec = z.infer<typeof exportSpec>;

/** Features of images, to files. */
export const embedSpec = z.strictObject({
  ...judged,
  split: z.enum(["train", "test"]).default("train"),
  features: z.enum(["backbone", "projection"]).default("backbone"),
  blocks,
  centreCrop,
});
export type EmbedSpec = z.infer<typeof embedSpec>;
