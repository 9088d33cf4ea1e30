/** k = m*k + (1-m)*q over a range of parameters (MoCo, eq. 2; BYOL, eq. 1). Batch-norm statistics are not averaged. */
export function momentumUpdate(k: Float32Array, q: Float32Array, m: number, range: { from: number; to: number }): void {
  for (let i = range.from; i < range.to; i++) k[i] = m * (k[i] as number) + (1 - m) * (q[i] as number);
}
