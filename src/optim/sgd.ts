/** SGD with momentum and L2 weight decay as torch.optim.SGD does it: v = mu*v + (g + wd*p); p = p - lr*v. */
export function sgd(
  params: Float32Array,
  velocity: Float32Array,
  gradient: Float32Array,
  range: { from: number; to: number },
  { lr, momentum, weightDecay }: { lr: number; momentum: number; weightDecay: number },
): void {
  for (let i = range.from; i < range.to; i++) {
    const p = params[i] as number;
    const v = Math.fround(momentum * (velocity[i] as number) + (gradient[i] as number) + weightDecay * p);
    velocity[i] = v;
    params[i] = p - lr * v;
  }
}
