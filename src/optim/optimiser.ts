import type { OptimizerSpec } from "../schema/pretrain.ts";
import { adamw } from "./adamw/index.ts";
import type { Buffers, Hyper, Range } from "./buffers.ts";
import { lars } from "./lars/index.ts";
import { sgd } from "./sgd/index.ts";

export interface Optimiser {
  /** Second moments are kept. */
  readonly second: boolean;
  /** A tensor is updated as a whole, not in any two parts. */
  readonly whole: boolean;
  /** `decay`: whether the tensor that the range belongs to is a weight, see `Entry.decay`. Only LARS asks. */
  update(buffers: Buffers, range: Range, hyper: Hyper, decay: boolean): void;
}

/** In order of complexity. To add one: a file, a line here, a name in `schema/pretrain.ts`. */
export const optimisers: Record<OptimizerSpec["algorithm"], Optimiser> = {
  sgd: { second: false, whole: false, update: sgd },
  lars: { second: false, whole: true, update: lars },
  adamw: { second: true, whole: false, update: adamw },
};
