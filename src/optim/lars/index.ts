import type { Buffers, Hyper, Range } from "../buffers.ts";

/** Ratio of the step's length to the tensor's: moco-v3's trust coefficient. */
export const TRUST = 0.001;

/**
 * LARS (You et al. 2017) as moco-v3 has it: SGD whose step is scaled, tensor by tensor, to the length of the weights.
 * `scaled`: false for biases and norms, which are neither decayed nor scaled. The range is one whole tensor.
 */
export function lars(
  { params, first, gradient }: Buffers,
  range: Range,
  { lr, momentum, weightDecay, clip }: Omit<Hyper, "beta2" | "step">,
  scaled: boolean,
): void {
  const decay = scaled ? weightDecay : 0;
  let scale = 1;
  if (scaled) {
    let weight = 0;
    let update = 0;
    for (let i = range.from; i < range.to; i++) {
      const p = params[i] as number;
      weight += p * p;
      update += (clip * (gradient[i] as number) + decay * p) ** 2;
    }
    if (weight > 0 && update > 0) scale = (TRUST * Math.sqrt(weight)) / Math.sqrt(update);
  }
  for (let i = range.from; i < range.to; i++) {
    const p = params[i] as number;
    const v = Math.fround(momentum * (first[i] as number) + scale * (clip * (gradient[i] as number) + decay * p));
    first[i] = v;
    params[i] = p - lr * v;
  }
}
