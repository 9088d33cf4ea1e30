/**
 * Attention in float64, and its gradient for dout. qkv [N,T,3,H,D], out and dout [N,T,H,D]. `causal`: a query sees no keys
 * after its own. `lengths`: of each image the tokens that are not padding.
 */
type Values = ArrayLike<number>;

interface ReferenceMask {
  readonly causal?: boolean;
  readonly lengths?: Values;
}

export function attentionReference(
  { n, t, h, d }: { n: number; t: number; h: number; d: number },
  qkv: Values,
  dout: Values,
  { causal = false, lengths }: ReferenceMask = {},
): { out: Float64Array; dqkv: Float64Array } {
  const scale = 1 / Math.sqrt(d);
  const [out, dqkv] = [new Float64Array(n * t * h * d), new Float64Array(n * t * 3 * h * d)];
  const range = (length: number) => Array.from({ length }, (_, i) => i);
  for (let image = 0; image < n; image++) {
    const length = lengths?.[image] ?? t;
    for (let head = 0; head < h; head++) {
      /** Place of a token's query (0), key (1) or value (2). */
      const at = (part: number, token: number) => (((image * t + token) * 3 + part) * h + head) * d;
      const outAt = (token: number) => ((image * t + token) * h + head) * d;
      const dot = (a: Values, i: number, b: Values, j: number) => {
        let sum = 0;
        for (let c = 0; c < d; c++) sum += (a[i + c] as number) * (b[j + c] as number);
        return sum;
      };
      const add = (to: Float64Array, i: number, from: Values, j: number, factor: number) => {
        for (let c = 0; c < d; c++) to[i + c] = (to[i + c] as number) + factor * (from[j + c] as number);
      };
      for (const i of range(length)) {
        const keys = range(causal ? i + 1 : length);
        const scores = keys.map((j) => dot(qkv, at(0, i), qkv, at(1, j)) * scale);
        const most = Math.max(...scores);
        const sum = scores.reduce((all, s) => all + Math.exp(s - most), 0);
        const p = scores.map((s) => Math.exp(s - most) / sum);
        for (const j of keys) add(out, outAt(i), qkv, at(2, j), p[j] as number);
        const dp = keys.map((j) => dot(dout, outAt(i), qkv, at(2, j)));
        const mean = dp.reduce((all, v, j) => all + v * (p[j] as number), 0);
        for (const j of keys) {
          const ds = (p[j] as number) * ((dp[j] as number) - mean) * scale;
          add(dqkv, at(0, i), qkv, at(1, j), ds);
          add(dqkv, at(1, j), qkv, at(0, i), ds);
          add(dqkv, at(2, j), dout, outAt(i), p[j] as number);
        }
      }
    }
  }
  return { out, dqkv };
}
