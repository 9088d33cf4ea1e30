import type { Buffers, Hyper, Range } from "../buffers.ts";

/** SGD with momentum and L2 weight decay as torch.optim.SGD does it: v = mu*v + (g + wd*p); p = p - lr*v. */
export function sgd(
  { params, first, gradient }: Buffers,
  range: Range,
  { lr, momentum, weightDecay, clip }: Omit<Hyper, "beta2" | "step">,
): void {
  for (let i = range.from; i < range.to; i++) {
    const p = params[i] as number;
    const v = Math.fround(momentum * (first[i] as number) + clip * (gradient[i] as number) + weightDecay * p);
    first[i] = v;
    params[i] = p - lr * v;
  }
}
