/** Stochastic depth (Huang et al. 2016): which images skip which branch of a ViT's blocks, as a pure function of the step. */
import { isVit } from "../schema/encoder.ts";
import type { EncoderSpec, TrainSpec } from "../schema/pretrain.ts";
import { Stream } from "../util/random.ts";

/** Branches that may be dropped: attention and MLP of each block; 0: none is. */
export const branchesOf = (encoder: EncoderSpec): number =>
  isVit(encoder) && encoder.dropPath ? 2 * encoder.depth : 0;

/**
 * Factors of an image's branches, in their order: 0, or 1 / (1 - rate). The rate grows linearly from 0 in the first block to
 * `dropPath` in the last one, as timm's.
 */
export function dropFactors(
  { encoder, seed }: TrainSpec,
  { epoch, sample, view }: { epoch: number; sample: number; view: number },
): Float32Array {
  const factors = new Float32Array(branchesOf(encoder));
  if (!isVit(encoder)) return factors;
  const stream = new Stream(seed, "drop", epoch, sample, view);
  return factors.map((_, branch) => {
    const block = Math.floor(branch / 2);
    const rate = ((encoder.dropPath ?? 0) * block) / Math.max(1, encoder.depth - 1);
    return stream.uniform(0, 1) < rate ? 0 : 1 / (1 - rate);
  });
}
