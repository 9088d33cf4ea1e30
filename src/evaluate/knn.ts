import * as tf from "@tensorflow/tfjs-core";

const CHUNK = 256;

/** f32[N*F] of rows -> rows of unit length, in a new array. */
export function unitRows(features: Float32Array, dim: number): Float32Array {
  const out = new Float32Array(features.length);
  for (let row = 0; row < features.length; row += dim) {
    let norm = 0;
    for (let i = 0; i < dim; i++) norm += (features[row + i] as number) ** 2;
    const scale = 1 / Math.max(Math.sqrt(norm), 1e-12);
    for (let i = 0; i < dim; i++) out[row + i] = (features[row + i] as number) * scale;
  }
  return out;
}

/** The k-th largest of `values` (Hoare's selection, on a copy): linear time, where sorting each row was the cost. */
function kthLargest(values: Float32Array, k: number): number {
  const v = values.slice();
  const target = v.length - k;
  let low = 0;
  let high = v.length - 1;
  while (low < high) {
    const pivot = v[(low + high) >> 1] as number;
    let i = low;
    let j = high;
    while (i <= j) {
      while ((v[i] as number) < pivot) i++;
      while ((v[j] as number) > pivot) j--;
      if (i <= j) {
        const swapped = v[i] as number;
        v[i++] = v[j] as number;
        v[j--] = swapped;
      }
    }
    if (target <= j) high = j;
    else if (target >= i) low = i;
    else break;
  }
  return v[target] as number;
}

/** Indices of the k largest of `values`, largest first, the lower index first among equals. */
export function topK(values: Float32Array, k: number): Int32Array {
  const threshold = values.length > k ? kthLargest(values, k) : Number.NEGATIVE_INFINITY;
  const chosen: number[] = [];
  for (let i = 0; i < values.length; i++) if ((values[i] as number) >= threshold) chosen.push(i);
  chosen.sort((a, b) => (values[b] as number) - (values[a] as number) || a - b);
  return Int32Array.from(chosen.slice(0, k));
}

export interface Labelled {
  /** f32[N, dim] */
  features: Float32Array;
  labels: Int32Array;
}

export interface Vote {
  k: number;
  /** Divides the cosine in the weight of a neighbour, exp(cosine / temperature). */
  temperature: number;
}

/** The votes f64[rows, classes] of some queries, for each setting. */
export interface Votes {
  readonly from: number;
  readonly rows: number;
  readonly votes: readonly Float64Array[];
}

/**
 * Weighted kNN (Wu et al. 2018, as in MoCo's CIFAR demo): cosine similarity, the k nearest of the bank vote with
 * exp(similarity / temperature). Yields the votes of 256 queries at a time for each of `settings`, of one search.
 *
 * @param from - The query to begin with, a multiple of 256.
 */
export function* knnSearch(
  bank: Labelled,
  queries: Float32Array,
  dim: number,
  classes: number,
  settings: readonly Vote[],
  from = 0,
): Generator<Votes> {
  const size = bank.labels.length;
  const most = Math.min(size, Math.max(...settings.map(({ k }) => k)));
  const count = queries.length / dim;
  const bankTensor = tf.tensor2d(unitRows(bank.features, dim), [size, dim]);
  try {
    for (let start = from; start < count; start += CHUNK) {
      const rows = Math.min(CHUNK, count - start);
      const part = tf.tensor2d(unitRows(queries.subarray(start * dim, (start + rows) * dim), dim), [rows, dim]);
      const product = tf.matMul(part, bankTensor, false, true); // [rows, size]
      const similarities = product.dataSync() as Float32Array;
      tf.dispose([part, product]);
      const votes = settings.map(() => new Float64Array(rows * classes));
      for (let r = 0; r < rows; r++) {
        const row = similarities.subarray(r * size, (r + 1) * size);
        const nearest = topK(row, most);
        settings.forEach(({ k, temperature }, s) => {
          const of = (votes[s] as Float64Array).subarray(r * classes, (r + 1) * classes);
          for (const i of nearest.subarray(0, k)) {
            const label = bank.labels[i] as number;
            of[label] = (of[label] as number) + Math.exp((row[i] as number) / temperature);
          }
        });
      }
      yield { from: start, rows, votes };
    }
  } finally {
    bankTensor.dispose();
  }
}

/** The votes f64[N, classes] of all queries, for each of `settings`. */
export function knnVotes(
  bank: Labelled,
  queries: Float32Array,
  dim: number,
  classes: number,
  settings: readonly Vote[],
): Float64Array[] {
  const all = settings.map(() => new Float64Array((queries.length / dim) * classes));
  for (const { from, votes } of knnSearch(bank, queries, dim, classes, settings)) {
    votes.forEach((some, s) => {
      all[s]?.set(some, from * classes);
    });
  }
  return all;
}

/** How many of some queries the vote is right about. */
export function rightVotes({ from, rows, votes }: Votes, labels: Int32Array, classes: number): number {
  const [of] = votes as [Float64Array];
  return labels.subarray(from, from + rows).filter((label, i) => {
    const row = of.subarray(i * classes, (i + 1) * classes);
    return row.indexOf(Math.max(...row)) === label;
  }).length;
}

/** Top-1 of the vote, in [0, 1]. */
export function knn(bank: Labelled, queries: Labelled, dim: number, classes: number, vote: Vote): number {
  let right = 0;
  for (const some of knnSearch(bank, queries.features, dim, classes, [vote])) {
    right += rightVotes(some, queries.labels, classes);
  }
  return right / queries.labels.length;
}
