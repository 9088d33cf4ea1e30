/** Gradient clipping by the norm of the whole gradient (Pascanu et al. 2013), as torch.nn.utils.clip_grad_norm_ does it. */
import type { Range } from "../buffers.ts";

/** Lest a gradient of 0 divides by it. */
export const CLIP_EPSILON = 1e-6;

/** Sum of the squares of a tensor's gradient. */
export function squaresOf(gradient: Float32Array, { from, to }: Range): number {
  let sum = 0;
  for (let i = from; i < to; i++) sum += (gradient[i] as number) ** 2;
  return sum;
}

/** Factor of the gradient, whose tensors have these sums of squares: at most 1. */
export const clipFactor = (squares: ArrayLike<number>, clip: number): number => {
  let sum = 0;
  for (let i = 0; i < squares.length; i++) sum += squares[i] as number;
  return Math.min(1, clip / (Math.sqrt(sum) + CLIP_EPSILON));
};
