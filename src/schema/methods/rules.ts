/** Warnings that several methods share. */
import { type CommonSpec, strideOf } from "../common.ts";
import { isVit } from "../encoder.ts";
import type { LintRule } from "./method.ts";

/** Statistics of very few values are noise. */
export const noisyBatchNorm: LintRule<CommonSpec> = ({ batchSize, splits, norm, augmentation, encoder }) => {
  // A ViT has them in the heads alone, but for ViT-BN.
  const side = isVit(encoder) ? 1 : Math.max(1, Math.floor(augmentation.size / strideOf(encoder)));
  const images = norm === "batch" ? batchSize : batchSize / splits;
  const values = images * side * side;
  if (values >= 16) return undefined;
  return {
    fields: ["batchSize", "splits", "augmentation.size"],
    message:
      `the last batch norm sees ${values} values a channel (${images} images of ${side}x${side}): ` +
      "its statistics are noise; use fewer splits, a larger batch or larger views",
  };
};

/** SGD's rate against the reference's for 256 images, scaled linearly. */
export const batchAgainstRate =
  (lr: number, source: string): LintRule<CommonSpec> =>
  ({ optimizer, batchSize }) => {
    if (optimizer.algorithm !== "sgd") return undefined;
    const reference = (lr * batchSize) / 256;
    const ratio = optimizer.lr / reference;
    if (ratio <= 16 && ratio >= 1 / 16) return undefined;
    return {
      fields: ["optimizer.lr", "batchSize"],
      message:
        `optimizer.lr ${optimizer.lr} is ${ratio > 1 ? `${ratio.toFixed(0)} times` : `1/${(1 / ratio).toFixed(0)} of`} ` +
        `the reference's ${reference.toPrecision(2)} (${lr} at batch 256, scaled to ${batchSize}; ${source})`,
    };
  };

/** A moving average that is slow against the length of the run stays near its random start. */
export const momentumAgainstSteps =
  (network: string): LintRule<CommonSpec & { momentum: number }> =>
  ({ momentum, epochs, batchSize }, images) => {
    if (images === undefined || momentum === 1 || momentum === 0) return undefined;
    const steps = Math.floor(images / batchSize) * epochs;
    const halfLife = Math.LN2 / -Math.log(momentum);
    if (halfLife <= steps / 4) return undefined;
    return {
      fields: ["momentum", "epochs"],
      message:
        `momentum ${momentum} has a half-life of ${Math.round(halfLife)} steps, and the run has ${steps}: ` +
        `${network} stays near its random start; lower momentum or train longer`,
    };
  };

/** Batch norm over small parts of the batch, where the method was published with all of it. */
export const splitBatchNorm: LintRule<CommonSpec> = ({ norm, splits, batchSize }) => {
  if (norm === "batch" || splits === 1) return undefined;
  return {
    fields: ["norm", "splits"],
    message:
      `norm "split" normalises ${batchSize / splits} images at a time; the method was published with batch norm over ` +
      'the whole batch (norm "batch")',
  };
};
