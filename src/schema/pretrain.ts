import { z } from "zod";
import { datasetSpec } from "./dataset.ts";

const probability = z.number().min(0).max(1);
const strength = z.number().min(0).max(2);

export const encoderSpec = z.strictObject({
  arch: z.enum(["resnet10", "resnet18", "resnet34", "resnet50"]),
  stem: z.enum(["cifar", "imagenet"]).describe("cifar: 3x3 stride 1; imagenet: 7x7 stride 2 and max-pool"),
  width: z.int().min(4).max(256).describe("channels of the first stage; 64 is the standard"),
});
export type EncoderSpec = z.infer<typeof encoderSpec>;

export const augmentationSpec = z.strictObject({
  size: z.int().min(8).max(512).describe("side of a view in pixels"),
  cropScale: z
    .tuple([z.number().gt(0).max(1), z.number().gt(0).max(1)])
    .refine(([low, high]) => low <= high, "the lower bound may not exceed the upper one")
    .describe("area of the random crop as a share of the image"),
  flip: probability,
  jitter: z.strictObject({
    probability,
    brightness: strength,
    contrast: strength,
    saturation: strength,
    hue: z.number().min(0).max(0.5),
  }),
  grey: probability,
  greyFirst: z.boolean().describe("grey before the jitter, as MoCo v1; else after it, as MoCo v2"),
  blur: probability.describe("probability of a Gaussian blur, sigma uniform in [0.1, 2]"),
  solarise: probability.describe("probability that values of 128 and more are inverted, as MoCo v3"),
});
export type AugmentationSpec = z.infer<typeof augmentationSpec>;

export const optimizerSpec = z.strictObject({
  algorithm: z.enum(["sgd", "lars", "adamw"]).describe("sgd: MoCo v1 and v2; lars and adamw: as MoCo v3 uses them"),
  lr: z.number().gt(0).max(100),
  momentum: z.number().min(0).lt(1).describe("of sgd and lars; AdamW's first beta"),
  beta2: z.number().min(0).lt(1).describe("AdamW's second beta"),
  weightDecay: z.number().min(0).max(1),
  schedule: z.enum(["cosine", "step", "constant"]),
  per: z.enum(["epoch", "step"]).describe("how often the rate changes; epoch: as the reference of v1 and v2 does"),
  warmup: z.number().min(0).describe("epochs in which the rate rises linearly to lr"),
  milestones: z.array(z.int().min(1)).describe("epochs at which `step` multiplies the rate by 0.1"),
});
export type OptimizerSpec = z.infer<typeof optimizerSpec>;

export const checkpointSpec = z.strictObject({
  everyEpochs: z.int().min(1).describe("a checkpoint at the end of every so many epochs, and of the last one"),
  everyMinutes: z.number().min(0).max(10_080).describe("and in between, after so much time without one; 0: never"),
  keepLast: z.int().min(1).max(1000).describe("of those at an epoch's end, how many stay"),
  keepBest: z.boolean().describe("the one with the best kNN stays as well"),
  keepEvery: z.int().min(0).describe("those of every so many epochs stay as well; 0: none"),
});

type Sizes = { batchSize: number; splits: number; queueSize: number; symmetric: boolean; epochs: number };

/** Keys that one step puts into the queue: with the symmetric loss those of both views. */
export const keysPerStep = (spec: { batchSize: number; symmetric: boolean }): number =>
  spec.symmetric ? 2 * spec.batchSize : spec.batchSize;

/** The side by which an encoder divides an image before its last stage. */
export const strideOf = (encoder: EncoderSpec): number => (encoder.stem === "cifar" ? 8 : 32);

/** A rule that two fields obey together is judged when both are well-formed, whatever else is wrong. */
const between = (field: string, other: string) => ({
  path: [field],
  when: ({ issues }: z.core.ParsePayload) =>
    !issues.some(({ code, path }) => code !== "custom" && (path?.[0] === field || path?.[0] === other)),
});

/** A pretraining job, complete: after parsing nothing is optional and nothing defaults deeper down. */
export const pretrainSpec = z
  .strictObject({
    method: z.enum(["moco-v1", "moco-v2"]).describe("whose published settings the preset takes"),
    dataset: datasetSpec,
    encoder: encoderSpec,
    head: z.enum(["mlp", "linear"]),
    dim: z.int().min(2).max(4096).describe("dimension of a key"),
    queueSize: z.int().min(1).max(1_048_576).describe("K, the number of negative keys"),
    momentum: z.number().min(0).max(1).describe("m of the key encoder's moving average"),
    temperature: z.number().gt(0).max(10),
    batchSize: z.int().min(2).max(8192),
    splits: z.int().min(1).max(64).describe("groups of the batch that batch norm sees apart"),
    shuffle: z.boolean().describe("encode keys in splits that differ from the queries' (shuffling BN)"),
    symmetric: z.boolean().describe("both views are queries and keys in turn; the loss is the sum of the two"),
    maskSameImage: z.boolean().describe("leave keys of the query's own image out of its negatives"),
    epochs: z.int().min(1).max(100_000),
    seed: z.int().min(0).max(0xffffffff),
    device: z
      .enum(["auto", "webgpu", "wasm"])
      .describe("auto: a GPU where there is a real one, else WASM; also WASM after a GPU has failed twice"),
    precision: z
      .enum(["float32", "mixed"])
      .describe("mixed: activations in float16, sums and parameters in float32; on WebGPU, WASM is always float32"),
    logEvery: z.int().min(1).max(1000).describe("steps between two looks at the loss, which make a GPU wait"),
    optimizer: optimizerSpec,
    augmentation: augmentationSpec,
    monitor: z.strictObject({
      everyEpochs: z.int().min(0).describe("kNN after every so many epochs; 0: never"),
      k: z.int().min(1).max(10_000),
      temperature: z.number().gt(0).max(10),
      features: z.enum(["backbone", "projection"]),
      bank: z.int().min(1).describe("at most so many training images vote"),
      holdout: z.int().min(1).describe("training images held out of pretraining and classified by the vote"),
    }),
    checkpoint: checkpointSpec,
  })
  .refine((spec) => spec.batchSize % spec.splits === 0, {
    ...between("batchSize", "splits"),
    error: ({ input }) => `must be a multiple of splits (${(input as Sizes).splits})`,
  })
  .refine((spec) => spec.batchSize % spec.splits !== 0 || spec.batchSize >= 2 * spec.splits, {
    ...between("splits", "batchSize"),
    error: ({ input }) => `batch norm needs 2 images a split of batchSize (${(input as Sizes).batchSize})`,
  })
  .refine((spec) => spec.queueSize >= keysPerStep(spec), {
    ...between("queueSize", "batchSize"),
    error: ({ input }) => {
      const { batchSize, symmetric } = input as Sizes;
      return `must be at least ${symmetric ? "twice batchSize, as the loss is symmetric" : "batchSize"} (${batchSize})`;
    },
  })
  .refine((spec) => spec.augmentation.size >= strideOf(spec.encoder), {
    ...between("augmentation", "encoder"),
    path: ["augmentation", "size"],
    error: ({ input }) => {
      const { encoder } = input as { encoder: EncoderSpec };
      return `must be at least ${strideOf(encoder)}, the stride of encoder.stem ${encoder.stem}`;
    },
  })
  .refine((spec) => spec.optimizer.warmup < spec.epochs, {
    ...between("optimizer", "epochs"),
    path: ["optimizer", "warmup"],
    error: ({ input }) => `must be less than epochs (${(input as Sizes).epochs})`,
  });
export type PretrainSpec = z.infer<typeof pretrainSpec>;
