/** How fast running statistics follow: PyTorch's default. */
export const BATCH_NORM_MOMENTUM = 0.1;

/**
 * running = mean over splits of (1 - momentum) * running + momentum * the split's statistic, as the CIFAR demo's
 * SplitBatchNorm. running f32[B], batch f32[splits, B].
 */
export function runningStatistics(running: Float32Array, batch: Float32Array, splits: number, momentum: number): void {
  for (let i = 0; i < running.length; i++) {
    let sum = 0;
    for (let s = 0; s < splits; s++) {
      sum += (1 - momentum) * (running[i] as number) + momentum * (batch[s * running.length + i] as number);
    }
    running[i] = sum / splits;
  }
}
