/** Training batch norm + residual + ReLU in float64. x f64[R*C], channels innermost. */
type Values = ArrayLike<number>;

export function batchNormReference(
  x: Values,
  gamma: Values,
  beta: Values,
  residual: Values | undefined,
  relu: boolean,
  epsilon: number,
) {
  const c = gamma.length;
  const rows = x.length / c;
  const mean = new Float64Array(c);
  const variance = new Float64Array(c);
  const y = new Float64Array(x.length);
  for (let j = 0; j < c; j++) {
    let sum = 0;
    for (let r = 0; r < rows; r++) sum += x[r * c + j] as number;
    const m = sum / rows;
    let square = 0;
    for (let r = 0; r < rows; r++) square += ((x[r * c + j] as number) - m) ** 2;
    mean[j] = m;
    variance[j] = square / rows;
    const scale = (gamma[j] as number) / Math.sqrt(square / rows + epsilon);
    for (let r = 0; r < rows; r++) {
      const i = r * c + j;
      const v = ((x[i] as number) - m) * scale + (beta[j] as number) + (residual ? (residual[i] as number) : 0);
      y[i] = relu && v < 0 ? 0 : v;
    }
  }
  return { y, mean, variance };
}
