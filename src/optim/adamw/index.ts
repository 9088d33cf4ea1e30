import type { Buffers, Hyper, Range } from "../buffers.ts";

export const EPSILON = 1e-8;

/** AdamW (Loshchilov and Hutter 2019) as torch.optim.AdamW does it: the decay is apart from the gradient. */
export function adamw({ params, first, second, gradient }: Buffers, range: Range, hyper: Hyper): void {
  const { lr, momentum: beta1, beta2, weightDecay, clip, step } = hyper;
  const correction1 = 1 - beta1 ** (step + 1);
  const correction2 = Math.sqrt(1 - beta2 ** (step + 1));
  for (let i = range.from; i < range.to; i++) {
    const g = clip * (gradient[i] as number);
    const m = Math.fround(beta1 * (first[i] as number) + (1 - beta1) * g);
    const v = Math.fround(beta2 * (second[i] as number) + (1 - beta2) * g * g);
    first[i] = m;
    second[i] = v;
    const decayed = (params[i] as number) * (1 - lr * weightDecay);
    params[i] = decayed - ((lr / correction1) * m) / (Math.sqrt(v) / correction2 + EPSILON);
  }
}
