import type { OptimizerSpec } from "../spec/pretrain.ts";

/** The learning rate of an epoch (from 0), as main_moco.py's adjust_learning_rate: by epoch, no warm-up. */
export function learningRate(spec: OptimizerSpec, epoch: number, epochs: number): number {
  if (spec.schedule === "cosine") return spec.lr * 0.5 * (1 + Math.cos((Math.PI * epoch) / epochs));
  return spec.lr * 0.1 ** spec.milestones.filter((milestone) => epoch >= milestone).length;
}
