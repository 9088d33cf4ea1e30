/** CLIP with momentum towers and queues of keys. */
import { z } from "zod";
import type { CommonSpec } from "../common.ts";
import { atChance, collapsed, learning, percent } from "../verdict.ts";
import { pairsCharts, pairsPresets, pairsRules, pairsShape } from "./clip.ts";
import { methodSchema } from "./method.ts";
import { momentumAgainstSteps, noisyBatchNorm } from "./rules.ts";

const shape = {
  method: z.literal("clip-queue"),
  queueSize: z.int().min(1).max(1_048_576).describe("K, keys of images in one queue and of texts in another"),
  momentum: z.number().min(0).max(1).describe("m of the momentum towers"),
  ...pairsShape,
};
export type ClipQueueSpec = CommonSpec & z.infer<z.ZodObject<typeof shape>>;
type Preset = Omit<ClipQueueSpec, "dataset">;

const withQueue = (
  { loss: _, bias: __, method: ___, tapes: ____, ...preset }: (typeof pairsPresets)["small"],
  queueSize: number,
  momentum: number,
): Preset => ({ method: "clip-queue", ...preset, queueSize, momentum });

/** ALBEF's queue and momentum (section 3.5). */
const imagenet = withQueue(pairsPresets.imagenet, 65_536, 0.995);
const cifar = withQueue(pairsPresets.cifar, 4096, 0.99);
const small = withQueue(pairsPresets.small, 1024, 0.99);

/** Keys among which a query finds its own: those of the batch, and of the queue. */
const keysOf = ({ batchSize, queueSize }: ClipQueueSpec) => batchSize + queueSize;

export const clipQueueSchema = methodSchema<typeof shape>({
  shape,
  paper: "Radford et al. 2021 (arXiv 2103.00020) with the queues of Li et al. 2021 (ALBEF, arXiv 2107.07651)",
  rules: [
    ...pairsRules,
    {
      field: "queueSize",
      other: "batchSize",
      holds: ({ queueSize, batchSize }) => queueSize >= batchSize,
      allowed: ({ batchSize }) => `must be at least batchSize (${batchSize})`,
    },
  ],
  shapes: ["dim", "text", "queueSize"],
  counted: [],
  metrics: ["top1", "positive", "negative", "temperature"],
  charts: [
    ...pairsCharts,
    { title: "Accuracy of finding the other half of a pair among all keys", of: "steps", figures: ["top1"] },
    { title: "Cosine of a query with its key, and with other keys", of: "steps", figures: ["positive", "negative"] },
    { title: "Temperature", of: "steps", figures: ["temperature"] },
    { title: "Age of the oldest text in its queue, in steps", of: "epochs", figures: ["texts.oldest"] },
    {
      title: "Cosine of the oldest keys with what they would be now",
      of: "epochs",
      figures: ["texts.drift", "images.drift"],
    },
  ],
  lint: [momentumAgainstSteps("the momentum towers"), noisyBatchNorm],
  judge: (spec, e) =>
    collapsed(e, "lower optimizer.lr, or raise momentum", e.metrics.negative) ??
    atChance(e, Math.log(keysOf(spec)), "log(N+K)", "give it more epochs, or lower optimizer.lr") ??
    learning(
      e,
      `loss ${e.loss.toFixed(2)} of ${Math.log(keysOf(spec)).toFixed(2)} at chance, accuracy ${percent(e.metrics.top1 ?? 0)}`,
    ),
  presets: {
    imagenet: { "clip-queue": imagenet },
    cifar: { "clip-queue": cifar },
    small: { "clip-queue": small },
  },
});
