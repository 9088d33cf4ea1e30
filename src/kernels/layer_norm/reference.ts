/** Layer norm in float64, with its gradient by x, gamma and beta for dy. x, dy [R,C]; gamma, beta [C]. */
type Values = ArrayLike<number>;

export function layerNormReference(x: Values, gamma: Values, beta: Values, epsilon: number, dy: Values) {
  const c = gamma.length;
  const [y, dx] = [new Float64Array(x.length), new Float64Array(x.length)];
  const [dgamma, dbeta] = [new Float64Array(c), new Float64Array(c)];
  for (let row = 0; row < x.length; row += c) {
    const at = (values: Values, j: number) => values[row + j] as number;
    let [mean, variance] = [0, 0];
    for (let j = 0; j < c; j++) mean += at(x, j) / c;
    for (let j = 0; j < c; j++) variance += (at(x, j) - mean) ** 2 / c;
    const inverse = 1 / Math.sqrt(variance + epsilon);
    let [meanG, meanX] = [0, 0];
    for (let j = 0; j < c; j++) {
      const [xhat, g] = [(at(x, j) - mean) * inverse, at(dy, j) * (gamma[j] as number)];
      y[row + j] = xhat * (gamma[j] as number) + (beta[j] as number);
      dgamma[j] = (dgamma[j] as number) + at(dy, j) * xhat;
      dbeta[j] = (dbeta[j] as number) + at(dy, j);
      meanG += g / c;
      meanX += (g * xhat) / c;
    }
    for (let j = 0; j < c; j++) {
      const [xhat, g] = [(at(x, j) - mean) * inverse, at(dy, j) * (gamma[j] as number)];
      dx[row + j] = inverse * (g - meanG - xhat * meanX);
    }
  }
  return { y, dx, dgamma, dbeta };
}
