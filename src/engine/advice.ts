/** What to change in a spec whose run does not fit. */
import type { TrainSpec } from "../schema/pretrain.ts";

/** The message of an out-of-memory error on WASM: `what` was needed, and the fields that lower it. */
export function tooLarge({ batchSize, splits, encoder, augmentation }: TrainSpec, what: string): string {
  return (
    `out of memory: ${what}. A thread holds one split of ${batchSize / splits} images (batchSize ${batchSize} / splits ` +
    `${splits}): raise spec.splits, or lower spec.batchSize, spec.encoder.width (${encoder.width}) or ` +
    `spec.augmentation.size (${augmentation.size})`
  );
}
