/** What every optimiser works on, on WebGPU: flat buffers on the device, in float32. Launches are recorded once. */
import type * as tf from "@tensorflow/tfjs-core";
import { type Bound, folded, launch, lineKernel, reads, writes } from "../backend/webgpu.ts";

/** A tensor begins at a multiple of so many floats: WebGPU's 256 bytes. Such a block is of one tensor alone. */
export const BLOCK = 64;

/** Followers whose momentum a step can be given. */
const FOLLOWERS = 2;
/** What changes from step to step: the rate, AdamW's two corrections, the weight decay; then m and 1 - m of each follower. */
export const SCALARS = 4 + 2 * FOLLOWERS;

/** The scalars of a step. `step`: updates done before it. @throws where there are more followers than there is room for. */
export function scalarsOf(
  lr: number,
  { momentum, beta2, weightDecay }: { momentum: number; beta2: number; weightDecay: number },
  step: number,
  averages: readonly number[],
): Float32Array {
  if (averages.length > FOLLOWERS) throw new Error(`at most ${FOLLOWERS} networks can follow, got ${averages.length}`);
  const scalars = new Float32Array(SCALARS);
  scalars.set([lr, 1 - momentum ** (step + 1), Math.sqrt(1 - beta2 ** (step + 1)), weightDecay]);
  averages.forEach((m, i) => {
    scalars.set([m, 1 - m], 4 + 2 * i);
  });
  return scalars;
}

export interface Flat {
  /** f32[P] of each; `second` only where there is one. */
  readonly params: tf.Tensor;
  readonly gradient: tf.Tensor;
  readonly first: tf.Tensor;
  readonly second: tf.Tensor | undefined;
  /** f32[SCALARS] */
  readonly scalars: tf.Tensor;
  /** f32[P / BLOCK, 2]: factors of the rate and of the weight decay. */
  readonly rates: tf.Tensor;
  /** f32[1]: factor of the gradient, where it is clipped. */
  readonly clip: tf.Tensor | undefined;
}

export interface UpdateSettings {
  readonly algorithm: "sgd" | "lars" | "adamw";
  readonly momentum: number;
  readonly beta2: number;
}

/** Tensors in the flat buffers, for LARS: where each begins, its floats, and whether it is decayed and scaled. */
export interface Segments {
  /** i32[T, 3] */
  readonly table: tf.Tensor;
  /** i32[P / BLOCK] */
  readonly ofBlock: tf.Tensor;
}

/** WGSL: what a gradient is multiplied by. */
export const clipped = (clip: tf.Tensor | undefined): string => (clip ? " * clip_factor[0]" : "");

/** Runs `code` for each parameter i, with its rate `lr`, the `decay`, its value `p` and gradient `g`; it writes first[i], params[i]. */
export function launchFlat(
  name: string,
  flat: Flat,
  s: UpdateSettings,
  code: string,
  more: Record<string, Bound> = {},
) {
  const { params, gradient, first, scalars, rates, clip } = flat;
  const { size } = params;
  const given = `let factors = 2u * (i / ${BLOCK}u); let lr = scalars[0] * rates[factors]; let decay = scalars[3] * rates[factors + 1u]; let p = params[i]; let g = gradient[i]${clipped(clip)};`;
  launch({
    name,
    numbers: { size, momentumF: s.momentum, betaF: s.beta2 },
    bind: {
      params: writes(params),
      gradient: reads(gradient),
      first: writes(first),
      scalars: reads(scalars),
      rates: reads(rates),
      ...(clip && { clip_factor: reads(clip) }),
      ...more,
    },
    code: lineKernel("its.size", 256, `${given} ${code}`),
    groups: folded(size, 256),
  });
}
