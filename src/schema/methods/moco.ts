/** MoCo v1 and v2: one algorithm, two sets of published settings. */
import { z } from "zod";
import type { CommonSpec } from "../common.ts";
import { dimension } from "../common.ts";
import { atChance, collapsed, type Evidence, isFlat, learning, percent, type Verdict } from "../verdict.ts";
import { methodSchema } from "./method.ts";
import * as recipes from "./recipes.ts";
import { batchAgainstRate, momentumAgainstSteps, noisyBatchNorm } from "./rules.ts";
import { temperatures } from "./temperatures.ts";

const shape = {
  method: z.enum(["moco-v1", "moco-v2"]).describe("whose published settings the preset takes"),
  head: z.enum(["mlp", "linear"]),
  dim: dimension,
  queueSize: z.int().min(1).max(1_048_576).describe("K, the number of negative keys"),
  momentum: z.number().min(0).max(1).describe("m of the key encoder's moving average"),
  ...temperatures,
  shuffle: z.boolean().describe("encode keys in splits that differ from the queries' (shuffling BN)"),
  symmetric: z.boolean().describe("both views are queries and keys in turn; the loss is the sum of the two"),
  maskSameImage: z.boolean().describe("leave keys of the query's own image out of its negatives"),
};
export type MocoSpec = CommonSpec & z.infer<z.ZodObject<typeof shape>>;
type Preset = Omit<MocoSpec, "dataset">;

/** Keys that one step puts into the queue: with the symmetric loss those of both views. */
export const keysPerStep = (spec: { batchSize: number; symmetric: boolean }): number =>
  spec.symmetric ? 2 * spec.batchSize : spec.batchSize;

/** `--mlp --moco-t 0.2 --aug-plus --cos`: 67.5 +- 0.1 linear top-1 on ImageNet; not reachable on a CPU. */
const imagenet: Preset = {
  method: "moco-v2",
  ...recipes.imagenet,
  head: "mlp",
  dim: 128,
  queueSize: 65536,
  momentum: 0.999,
  temperature: 0.2,
  shuffle: true,
  symmetric: false,
  maskSameImage: false,
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
  ...recipes.cifar,
  head: "linear",
  queueSize: 4096,
  momentum: 0.99,
  temperature: 0.1,
};

/** Found on images held out of Fashion-MNIST's training set; see docs/decisions.md. */
const small: Preset = { ...cifar, ...recipes.small, head: "mlp", queueSize: 2048 };

function judge(spec: MocoSpec, e: Evidence): Verdict {
  const { top1 = 0, negative = 0 } = e.metrics;
  const chance = (spec.symmetric ? 2 : 1) * Math.log(spec.queueSize + 1);
  const filled = e.step * keysPerStep(spec);
  // An untrained encoder looks collapsed as well, so that is judged only once the queue is full.
  if (filled < spec.queueSize) {
    return {
      state: "queue warming",
      message:
        `the queue still holds ${spec.queueSize - filled} random vectors of ${spec.queueSize}; while they are replaced ` +
        "by real keys the loss rises, as it does in the first epochs of the authors' own log: no cause for concern",
    };
  }
  const flat = top1 > 0.95 && isFlat(e);
  return (
    collapsed(e, "lower optimizer.lr, or raise momentum (with m = 0 MoCo fails)", negative) ??
    (flat
      ? {
          state: "leaking",
          message:
            `queries find their key in ${percent(top1)} of cases while kNN stays at ${percent(e.knn as number)} ` +
            `(untrained ${percent(e.untrainedKnn as number)}): batch norm tells them which key is theirs; ` +
            `set shuffle: true, norm: "split" and splits above 1 (now ${spec.shuffle}, ${spec.norm}, ${spec.splits})`,
        }
      : undefined) ??
    atChance(
      e,
      chance,
      "log(K+1)",
      "give it more epochs, or lower optimizer.lr, lighten the crops (augmentation.cropScale) or lower temperature",
    ) ??
    learning(e, `loss ${e.loss.toFixed(2)} of ${chance.toFixed(2)} at chance, accuracy ${percent(top1)}`)
  );
}

export const mocoSchema = methodSchema<typeof shape>({
  shape,
  paper: "He et al. 2020 (arXiv 1911.05722), Chen et al. 2020 (arXiv 2003.04297)",
  rules: [
    {
      field: "queueSize",
      other: "batchSize",
      holds: (spec) => spec.queueSize >= keysPerStep(spec),
      allowed: ({ batchSize, symmetric }) =>
        `must be at least ${symmetric ? "twice batchSize, as the loss is symmetric" : "batchSize"} (${batchSize})`,
    },
  ],
  shapes: ["head", "dim", "queueSize"],
  counted: ["symmetric"],
  metrics: ["top1", "positive", "negative"],
  charts: [
    {
      title: "Cosine with the positive and the negative keys",
      of: "steps",
      figures: ["positive", "negative"],
    },
    { title: "Accuracy of finding the key among all", of: "steps", figures: ["top1"] },
    { title: "Age of the oldest key in the queue, in steps", of: "epochs", figures: ["queue.oldest"] },
    { title: "Cosine of the oldest keys with what they would be now", of: "epochs", figures: ["queue.drift"] },
  ],
  lint: [
    function queueAgainstImages({ queueSize, ...spec }, images) {
      if (images === undefined || queueSize + keysPerStep(spec) <= images) return undefined;
      return {
        fields: ["queueSize"],
        message:
          `queueSize ${queueSize} holds more keys than there are training images (${images}): ` +
          "most queries meet keys of their own image as negatives; lower it, or set maskSameImage",
      };
    },
    function queueOfOneEpoch({ queueSize, maskSameImage }, images) {
      if (images === undefined || maskSameImage || queueSize <= images / 2 || queueSize > images) return undefined;
      return {
        fields: ["queueSize", "maskSameImage"],
        message:
          `queueSize ${queueSize} is ${Math.round((100 * queueSize) / images)}% of the ${images} training images: after ` +
          "an epoch's end many queries meet a key of their own image as a negative; lower it, or set maskSameImage",
      };
    },
    function momentumAgainstQueue({ momentum, queueSize, ...spec }) {
      // Keys of one queue should come of nearly one encoder: the encoder's half-life beside the queue's refresh.
      const refresh = queueSize / keysPerStep(spec);
      const halfLife = momentum >= 1 ? Number.POSITIVE_INFINITY : Math.LN2 / -Math.log(Math.max(momentum, 1e-9));
      if (momentum === 0) return { fields: ["momentum"], message: "momentum 0 fails in the paper's own ablation" };
      if (momentum === 1) return { fields: ["momentum"], message: "momentum 1: the key encoder never learns" };
      if (halfLife >= refresh / 8) return undefined;
      return {
        fields: ["momentum", "queueSize"],
        message:
          `momentum ${momentum} halves the key encoder's past in ${halfLife.toFixed(1)} steps, but the queue is renewed in ` +
          `${refresh.toFixed(0)}: its keys come of very different encoders; raise momentum or lower queueSize`,
      };
    },
    momentumAgainstSteps("the key encoder"),
    function leakingBatchNorm({ splits, shuffle, norm }) {
      if (splits > 1 && shuffle && norm === "split") return undefined;
      return {
        fields: ["splits", "shuffle", "norm"],
        message:
          `splits ${splits} with shuffle ${shuffle} and norm ${norm}: batch norm shows a query which key is of its own ` +
          "group, so the task can be solved without looking; MoCo shuffles keys over 8 splits",
      };
    },
    noisyBatchNorm,
    batchAgainstRate(0.03, "README of facebookresearch/moco"),
    function temperatureAgainstHead({ temperature, head }) {
      if (head === "mlp" && temperature < 0.09) {
        return {
          fields: ["temperature", "head"],
          message: `temperature ${temperature} with an MLP head: 0.2 gave 66.2 where 0.07 gave 62.9 (MoCo v2, table 2)`,
        };
      }
      if (temperature <= 0.5) return undefined;
      return {
        fields: ["temperature"],
        message: `temperature ${temperature} hardly tells negatives apart; 0.07 to 0.2 is usual`,
      };
    },
  ],
  judge,
  // v1 and v2 are one algorithm, so a preset that is neither as published is the same for both.
  presets: {
    imagenet: { "moco-v1": imagenetV1, "moco-v2": imagenet },
    cifar: { "moco-v1": { ...cifar, method: "moco-v1" }, "moco-v2": cifar },
    small: { "moco-v1": { ...small, method: "moco-v1" }, "moco-v2": small },
  },
});
