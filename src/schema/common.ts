/** What the specs of all methods have in common. */
import { z } from "zod";
import { datasetSpec } from "./dataset.ts";
import { encoderSpec, isVit, strideOf, type VitSpec } from "./encoder.ts";

export type { EncoderSpec } from "./encoder.ts";
export { strideOf } from "./encoder.ts";

export const probability = z.number().min(0).max(1);
const strength = z.number().min(0).max(2);

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
  greyFirst: z.boolean().describe("grey before the jitter; else after it"),
  blur: probability.describe("probability of a Gaussian blur, sigma uniform in [0.1, 2]"),
  solarise: probability.describe("probability that values of 128 and more are inverted"),
});
export type AugmentationSpec = z.infer<typeof augmentationSpec>;

export const optimizerSpec = z.strictObject({
  algorithm: z
    .enum(["sgd", "lars", "adamw"])
    .describe(
      "lars scales every step to the length of the weights, for large batches; biases and norms are left out of it",
    ),
  lr: z.number().gt(0).max(100),
  momentum: z.number().min(0).lt(1).describe("of sgd and lars; AdamW's first beta"),
  beta2: z.number().min(0).lt(1).describe("AdamW's second beta"),
  weightDecay: z.number().min(0).max(1),
  finalWeightDecay: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe("weight decay moves to it over the run by half a cosine; unset: it is constant"),
  decayBiases: z
    .boolean()
    .optional()
    .describe(
      "whether biases and the gains of norms are decayed as well; unset: true, as the references' optimisers do",
    ),
  schedule: z.enum(["cosine", "step", "constant"]),
  per: z.enum(["epoch", "step"]).describe("how often the rate changes; epoch: as the reference of v1 and v2 does"),
  warmup: z.number().min(0).describe("epochs in which the rate rises linearly to lr"),
  milestones: z.array(z.int().min(1)).describe("epochs at which `step` multiplies the rate by 0.1"),
  clip: z.number().gt(0).optional().describe("norm to which a longer gradient is scaled down; unset: none is"),
});
export type OptimizerSpec = z.infer<typeof optimizerSpec>;

export const checkpointSpec = z.strictObject({
  everyEpochs: z.int().min(1).describe("a checkpoint at the end of every so many epochs, and of the last one"),
  everyMinutes: z.number().min(0).max(10_080).describe("and in between, after so much time without one; 0: never"),
  keepLast: z.int().min(1).max(1000).describe("of those at an epoch's end, how many stay"),
  keepBest: z.boolean().describe("the one with the best kNN stays as well"),
  keepEvery: z.int().min(0).describe("those of every so many epochs stay as well; 0: none"),
});

/** Parts of a batch at the most. */
export const MAX_SPLITS = 64;

/** Fields that every method has. */
export const commonShape = {
  dataset: datasetSpec,
  encoder: encoderSpec,
  batchSize: z.int().min(2).max(8192),
  splits: z
    .int()
    .min(1)
    .max(MAX_SPLITS)
    .describe("equal parts of the batch that are computed one by one, or by a thread each; see norm"),
  norm: z
    .enum(["split", "batch"])
    .describe("split: batch norm sees each split by itself, as on a device of its own; batch: all of a view's batch"),
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
};
export type CommonSpec = z.infer<z.ZodObject<typeof commonShape>>;

/** Dimension of the projections that the loss compares. */
export const dimension = z.int().min(2).max(4096).describe("dimension of the projections that the loss compares");
/** Width of the hidden layers of heads. */
export const hiddenWidth = z.int().min(2).max(16_384).describe("width of the heads' hidden layers");
/** What a method has whose loss needs the rows of the whole batch. */
export const tapes = z
  .enum(["auto", "kept", "recomputed"])
  .describe(
    "whether forward passes stay in memory until the loss of the batch is known, or are computed once more; auto: kept where they fit. " +
      "On WASM, with the same results; a GPU takes a batch in passes",
  );
/** What a method with two views of different augmentation has. */
export const secondView = z
  .strictObject({ blur: probability, solarise: probability })
  .describe("of the second view, in place of augmentation's");

/** A rule that several fields obey together. It is judged when they are well-formed, whatever else is wrong. */
export interface FieldRule<S> {
  /** Where the error stands, dotted; its first name and `other` are the fields that have to be well-formed. */
  readonly field: string;
  readonly other: string;
  holds(spec: S): boolean;
  allowed(spec: S): string;
}

/** A rule about a ViT alone; it stands where the encoder's field is. */
const vitRule = (
  field: keyof VitSpec,
  holds: (encoder: VitSpec) => boolean,
  allowed: (encoder: VitSpec) => string,
): FieldRule<CommonSpec> => ({
  field: `encoder.${field}`,
  other: "encoder",
  holds: ({ encoder }) => !isVit(encoder) || holds(encoder),
  allowed: ({ encoder }) => (isVit(encoder) ? allowed(encoder) : ""),
});

/** Dimensions of a head: a GPU's thread has a query of it in registers. */
const HEAD = 256;

const encoderRules = [
  vitRule(
    "width",
    ({ width, heads }) => width % heads === 0,
    ({ heads }) => `must be a multiple of encoder.heads (${heads})`,
  ),
  vitRule(
    "heads",
    ({ width, heads }) => width / heads <= HEAD,
    ({ width }) =>
      `must be at least ${Math.ceil(width / HEAD)}: a head has at most ${HEAD} of encoder.width (${width})`,
  ),
  vitRule(
    "width",
    ({ width, position }) => position !== "sincos" || width % 4 === 0,
    () => 'must be a multiple of 4 with encoder.position "sincos"',
  ),
  vitRule(
    "width",
    ({ width, patch, stem }) => stem !== "conv" || width % (patch / 2) === 0,
    ({ patch }) => `must be a multiple of ${patch / 2} with encoder.stem "conv", which doubles the channels up to it`,
  ),
  vitRule(
    "patch",
    ({ patch, stem }) => stem !== "conv" || [2, 4, 8, 16, 32].includes(patch),
    () => 'must be 2, 4, 8, 16 or 32 with encoder.stem "conv", which halves the side',
  ),
];

export const commonRules: readonly FieldRule<CommonSpec>[] = [
  {
    field: "batchSize",
    other: "splits",
    holds: ({ batchSize, splits }) => batchSize % splits === 0,
    allowed: ({ splits }) => `must be a multiple of splits (${splits})`,
  },
  {
    field: "splits",
    other: "batchSize",
    holds: ({ batchSize, splits, norm }) => norm === "batch" || batchSize % splits !== 0 || batchSize >= 2 * splits,
    allowed: ({ batchSize }) => `batch norm needs 2 images a split of batchSize (${batchSize})`,
  },
  {
    field: "augmentation.size",
    other: "encoder",
    holds: ({ augmentation, encoder }) => augmentation.size >= strideOf(encoder),
    allowed: ({ encoder }) =>
      `must be at least ${strideOf(encoder)}, ${isVit(encoder) ? "a patch" : `the stride of encoder.stem ${encoder.stem}`}`,
  },
  {
    field: "augmentation.size",
    other: "encoder",
    holds: ({ augmentation, encoder }) => !isVit(encoder) || augmentation.size % encoder.patch === 0,
    allowed: ({ encoder }) => `must be a multiple of encoder.patch (${strideOf(encoder)})`,
  },
  ...encoderRules,
  {
    field: "optimizer.warmup",
    other: "epochs",
    holds: ({ optimizer, epochs }) => optimizer.warmup < epochs,
    allowed: ({ epochs }) => `must be less than epochs (${epochs})`,
  },
];

/** The rules as zod knows them. */
export function withRules<T extends z.ZodType>(schema: T, rules: readonly FieldRule<never>[]): T {
  return rules.reduce<T>((checked, { field, other, holds, allowed }) => {
    const path = field.split(".");
    const when = ({ issues }: z.core.ParsePayload) =>
      !issues.some(({ code, path: at }) => code !== "custom" && (at?.[0] === path[0] || at?.[0] === other));
    return checked.refine((spec) => holds(spec as never), {
      path,
      when,
      error: ({ input }) => allowed(input as never),
    }) as T;
  }, schema);
}
