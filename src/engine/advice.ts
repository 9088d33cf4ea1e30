/** What to change in a spec whose run does not fit. */
import { MAX_SPLITS } from "../schema/common.ts";
import type { TrainSpec } from "../schema/pretrain.ts";

/** The message of an out-of-memory error on WASM: `what` was needed, and the fields that lower it. */
export function tooLarge({ batchSize, splits, encoder, augmentation }: TrainSpec, what: string): string {
  const more =
    splits < MAX_SPLITS ? "raise spec.splits, or lower" : `spec.splits is at its most (${MAX_SPLITS}); lower`;
  return (
    `out of memory: ${what}. A thread holds one split of ${batchSize / splits} images (batchSize ${batchSize} / splits ` +
    `${splits}): ${more} spec.batchSize, spec.encoder.width (${encoder.width}) or ` +
    `spec.augmentation.size (${augmentation.size}), or train on a GPU (spec.device)`
  );
}
