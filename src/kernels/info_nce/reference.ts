/** InfoNCE in float64. q and k f64[N,C], queue f64[K,C], mask f64[N,K] or none; dq is d(mean loss) / dq. */
type Values = ArrayLike<number>;

export function infoNceReference(q: Values, k: Values, queue: Values, c: number, t: number, mask?: Values) {
  const [n, keys] = [q.length / c, queue.length / c];
  const dot = (a: Values, i: number, b: Values, j: number) => {
    let sum = 0;
    for (let d = 0; d < c; d++) sum += (a[i * c + d] as number) * (b[j * c + d] as number);
    return sum;
  };
  const dq = new Float64Array(q.length);
  let [loss, top1, positive, negative] = [0, 0, 0, 0];
  for (let i = 0; i < n; i++) {
    const cosines = Array.from({ length: keys }, (_, j) => dot(q, i, queue, j));
    const own = dot(q, i, k, i);
    const logits = [own, ...cosines.map((v, j) => v + (mask ? (mask[i * keys + j] as number) : 0))].map((v) => v / t);
    const most = Math.max(...logits);
    const e = logits.map((l) => Math.exp(l - most));
    const sum = e.reduce((a, b) => a + b);
    loss += (Math.log(sum) + most - (logits[0] as number)) / n;
    if (logits[0] === most) top1 += 1 / n;
    positive += own / n;
    negative += cosines.reduce((a, b) => a + b) / keys / n;
    for (let d = 0; d < c; d++) {
      let pull = -(1 - (e[0] as number) / sum) * (k[i * c + d] as number);
      for (let j = 0; j < keys; j++) pull += ((e[j + 1] as number) / sum) * (queue[j * c + d] as number);
      dq[i * c + d] = pull / (n * t);
    }
  }
  return { loss, top1, positive, negative, dq };
}
