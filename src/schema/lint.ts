/** What is allowed but doubtful about a spec: each warning with its reason and number. */
import { keysPerStep, type PretrainSpec } from "./pretrain.ts";

export interface Warning {
  /** Fields of the spec that it is about. */
  readonly fields: readonly string[];
  readonly message: string;
}

type Rule = (spec: PretrainSpec, images: number | undefined) => Warning | undefined;

const rules: Rule[] = [
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
        `queueSize ${queueSize} is ${Math.round((100 * queueSize) / images)}% of the ${images} training images: ` +
        "behind an epoch's end many queries meet a key of their own image as a negative; lower it, or set maskSameImage",
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
  function momentumAgainstSteps({ momentum, epochs, batchSize }, images) {
    if (images === undefined || momentum === 1 || momentum === 0) return undefined;
    const steps = Math.floor(images / batchSize) * epochs;
    const halfLife = Math.LN2 / -Math.log(momentum);
    if (halfLife <= steps / 4) return undefined;
    return {
      fields: ["momentum", "epochs"],
      message:
        `momentum ${momentum} has a half-life of ${Math.round(halfLife)} steps, and the run has ${steps}: ` +
        "the key encoder stays near its random start; lower momentum or train longer",
    };
  },
  function leakingBatchNorm({ splits, shuffle }) {
    if (splits > 1 && shuffle) return undefined;
    return {
      fields: ["splits", "shuffle"],
      message:
        `splits ${splits} with shuffle ${shuffle}: batch norm shows a query which key is of its own group, so the task ` +
        "can be solved without looking; MoCo shuffles keys over 8 splits",
    };
  },
  function tinySplits({ batchSize, splits, augmentation, encoder }) {
    const side = Math.max(1, Math.floor(augmentation.size / (encoder.stem === "cifar" ? 8 : 32)));
    const values = (batchSize / splits) * side * side;
    if (values >= 16) return undefined;
    return {
      fields: ["batchSize", "splits", "augmentation.size"],
      message:
        `the last batch norm sees ${values} values a channel (${batchSize / splits} images of ${side}x${side}): ` +
        "its statistics are noise; use fewer splits, a larger batch or larger views",
    };
  },
  function rateAgainstBatch({ optimizer, batchSize }) {
    if (optimizer.algorithm !== "sgd") return undefined;
    // Linear scaling from the reference's 0.03 at 256 (README of facebookresearch/moco).
    const reference = (0.03 * batchSize) / 256;
    const ratio = optimizer.lr / reference;
    if (ratio <= 16 && ratio >= 1 / 16) return undefined;
    return {
      fields: ["optimizer.lr", "batchSize"],
      message:
        `optimizer.lr ${optimizer.lr} is ${ratio > 1 ? `${ratio.toFixed(0)} times` : `1/${(1 / ratio).toFixed(0)} of`} ` +
        `the reference's ${reference.toPrecision(2)} (0.03 at batch 256, scaled to ${batchSize})`,
    };
  },
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
];

/** `images`: how many are trained on, where it is known. */
export function lint(spec: PretrainSpec, images?: number): Warning[] {
  return rules.flatMap((rule) => rule(spec, images) ?? []);
}
