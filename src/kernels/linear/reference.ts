/** A linear layer with bias, and GELU where wanted, in float64, with its gradients for dy. x [R,from], w [from,to]. */
type Values = ArrayLike<number>;

/** erf by its series near 0 and its continued fraction beyond: to 1e-15. */
export function erf(x: number): number {
  const [a, s] = [Math.abs(x), x * x];
  if (a < 2.5) {
    let [term, sum] = [x, x];
    for (let n = 1; n < 80; n++) {
      term *= -s / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let k = 60; k > 0; k--) fraction = k / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-s) / Math.sqrt(Math.PI) / (a + fraction));
}

const phi = (z: number) => (1 + erf(z / Math.SQRT2)) / 2;
const density = (z: number) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);

export function linearReference(x: Values, w: Values, bias: Values, gelu: boolean, dy: Values) {
  const to = bias.length;
  const from = w.length / to;
  const rows = x.length / from;
  const [y, dx] = [new Float64Array(rows * to), new Float64Array(x.length)];
  const [dw, dbias] = [new Float64Array(w.length), new Float64Array(to)];
  for (let r = 0; r < rows; r++) {
    for (let j = 0; j < to; j++) {
      let z = bias[j] as number;
      for (let i = 0; i < from; i++) z += (x[r * from + i] as number) * (w[i * to + j] as number);
      y[r * to + j] = gelu ? z * phi(z) : z;
      const dz = (dy[r * to + j] as number) * (gelu ? phi(z) + z * density(z) : 1);
      dbias[j] = (dbias[j] as number) + dz;
      for (let i = 0; i < from; i++) {
        dx[r * from + i] = (dx[r * from + i] as number) + dz * (w[i * to + j] as number);
        dw[i * to + j] = (dw[i * to + j] as number) + dz * (x[r * from + i] as number);
      }
    }
  }
  return { y, dx, dw, dbias };
}
