/** What changes over a run: the learning rate, and numbers that move from one value to another. */
import type { OptimizerSpec } from "../schema/pretrain.ts";
import { byCosine } from "../util/cosine.ts";

/** The weight decay of a step (DINO, Caron et al. 2021, raises it by cosine). */
export const weightDecayAt = ({ weightDecay, finalWeightDecay }: OptimizerSpec, progress: number): number =>
  finalWeightDecay === undefined ? weightDecay : byCosine(weightDecay, finalWeightDecay, progress);

/**
 * The learning rate at `epoch` (from 0; a fraction inside an epoch). `per: "epoch"` takes the epoch's first value, as
 * main_moco.py's adjust_learning_rate of v1 and v2; `per: "step"` is that of moco-v3.
 *
 * Warm-up is linear: by step from 0 to `lr`; by epoch lr/w, 2lr/w, … lr. The cosine covers what is left behind it.
 */
export function learningRate(spec: OptimizerSpec, epoch: number, epochs: number): number {
  const { lr, warmup } = spec;
  const at = spec.per === "epoch" ? Math.floor(epoch) : epoch;
  if (at < warmup) return (lr * Math.min(warmup, spec.per === "epoch" ? at + 1 : at)) / warmup;
  if (spec.schedule === "constant") return lr;
  if (spec.schedule === "step") return lr * 0.1 ** spec.milestones.filter((milestone) => at >= milestone).length;
  return lr * 0.5 * (1 + Math.cos((Math.PI * (at - warmup)) / (epochs - warmup)));
}
