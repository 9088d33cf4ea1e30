/** A plane to look at features in, and who is next to whom. */
import { Matrix, NIPALS } from "ml-matrix";
import { UMAP } from "umap-js";
import type { Stream } from "../util/random.ts";
import { topK, unitRows } from "./knn.ts";

export interface Plane {
  /** f32[N, 2] */
  readonly points: Float32Array;
  /** Share of the variance that lies in it. */
  readonly explained: number;
}

/** The first two principal components of features f32[N, dim], each with its largest loading positive. */
export function principalPlane(features: Float32Array, dim: number): Plane {
  const count = features.length / dim;
  const rows = Matrix.from1DArray(count, dim, Array.from(features)).center("column");
  const total = rows.dot(rows);
  const points = new Float32Array(2 * count);
  let rest = rows;
  for (const axis of [0, 1]) {
    // One component at a time: all of them, of a thousand rows of 2,048 features, would take minutes.
    const found = new NIPALS(rest, { maxIterations: 500, terminationCriteria: 1e-9 });
    const loadings = found.w.to1DArray();
    const largest = loadings.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
    const sign = largest < 0 ? -1 : 1;
    found.t.to1DArray().forEach((value, i) => {
      points[2 * i + axis] = sign * value;
    });
    rest = found.xResidual;
  }
  return { points, explained: total > 0 ? 1 - rest.dot(rest) / total : 0 };
}

/** UMAP (McInnes et al. 2018) of features f32[N, dim] by their cosine: f32[N, 2]. `turn` is called after every epoch. */
export async function umapPlane(
  features: Float32Array,
  dim: number,
  random: Stream,
  turn: () => void,
): Promise<Float32Array> {
  const unit = unitRows(features, dim);
  const rows = Array.from({ length: unit.length / dim }, (_, i) => Array.from(unit.subarray(i * dim, (i + 1) * dim)));
  const nNeighbors = Math.min(15, rows.length - 1);
  const umap = new UMAP({ nComponents: 2, nNeighbors, minDist: 0.1, random: () => random.uniform() });
  const points = await umap.fitAsync(rows, () => {
    turn();
    return true;
  });
  return Float32Array.from(points.flat());
}

/** For each row the k others with the highest cosine, nearest first: i32[N, k]. */
export function neighboursOf(features: Float32Array, dim: number, k: number): Int32Array {
  const unit = unitRows(features, dim);
  const count = unit.length / dim;
  const out = new Int32Array(count * k);
  const cosines = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < count; j++) {
      let sum = 0;
      for (let d = 0; d < dim; d++) sum += (unit[i * dim + d] as number) * (unit[j * dim + d] as number);
      cosines[j] = sum;
    }
    cosines[i] = Number.NEGATIVE_INFINITY;
    out.set(topK(cosines, k), i * k);
  }
  return out;
}
