/** Retrieval of texts by images and of images by texts: recall at k, as CLIP's paper has it (Radford et al. 2021, table 13). */
import * as tf from "@tensorflow/tfjs-core";
import { Numbering } from "../util/numbering.ts";
import { topK, unitRows } from "./knn.ts";

/** Queries at a time. */
const CHUNK = 256;

/** Features f32[N, dim], not necessarily of unit length. */
export interface Rows {
  readonly features: Float32Array;
  readonly count: number;
}

/** Shares of queries whose first right answer is among the first 1, 5 and 10; and its median rank, from 1 on. */
export interface Recall {
  readonly at1: number;
  readonly at5: number;
  readonly at10: number;
  readonly medianRank: number;
}

/** Different texts of some images, and of each image those that are its own. */
export interface UniqueTexts {
  readonly texts: readonly string[];
  /** By image, numbers in `texts`. */
  readonly own: readonly Int32Array[];
}

/** Images may share a text: each of them is a right answer to it, so equal texts are one. */
export function uniqueTexts(texts: readonly (readonly string[])[]): UniqueTexts {
  const numbers = new Numbering<string>();
  const own = texts.map((of) => Int32Array.from(new Set(of), numbers.of));
  return { texts: numbers.values, own };
}

/** Of each text the images that have it. */
export function imagesOf({ texts, own }: UniqueTexts): Int32Array[] {
  const images: number[][] = texts.map(() => []);
  own.forEach((of, image) => {
    for (const text of of) images[text]?.push(image);
  });
  return images.map((of) => Int32Array.from(of));
}

/**
 * Cosines f32[n, candidates] of 256 queries at a time.
 *
 * @param from - The query to begin with, a multiple of 256.
 */
function* cosinesOf(
  queries: Rows,
  candidates: Rows,
  dim: number,
  from = 0,
): Generator<{ start: number; rows: Float32Array[] }> {
  const all = tf.tensor2d(unitRows(candidates.features, dim), [candidates.count, dim]);
  try {
    for (let start = from; start < queries.count; start += CHUNK) {
      const size = Math.min(CHUNK, queries.count - start);
      const some = unitRows(queries.features.subarray(start * dim, (start + size) * dim), dim);
      const cosines = tf.tidy(() => tf.matMul(tf.tensor2d(some, [size, dim]), all, false, true).dataSync());
      const rowOf = (_: unknown, i: number) =>
        cosines.subarray(i * candidates.count, (i + 1) * candidates.count) as Float32Array;
      yield { start, rows: Array.from({ length: size }, rowOf) };
    }
  } finally {
    all.dispose();
  }
}

/** A candidate's number, and its cosine with the query. */
export type Neighbour = [candidate: number, cosine: number];

/** Of each query the `k` candidates with the highest cosine, nearest first; of equal ones the first. Cosines have four decimals. */
export function nearest(queries: Rows, candidates: Rows, k: number, dim: number): Neighbour[][] {
  const found: Neighbour[][] = [];
  for (const { rows } of cosinesOf(queries, candidates, dim)) {
    for (const row of rows) found.push(Array.from(topK(row, k), (i) => [i, Number((row[i] as number).toFixed(4))]));
  }
  return found;
}

/**
 * Rank of the first right answer of each query by cosine, from 1 on. A wrong answer that is as near counts before it, so features
 * that are all the same find nothing. `right`: of each query, numbers of candidates. Yields the ranks of 256 queries at a time.
 *
 * @param from - The query to begin with, a multiple of 256.
 */
export function* ranks(
  queries: Rows,
  candidates: Rows,
  right: readonly Int32Array[],
  dim: number,
  from = 0,
): Generator<Int32Array> {
  for (const { start, rows } of cosinesOf(queries, candidates, dim, from)) {
    yield Int32Array.from(rows, (row, i) => rankIn(row, right[start + i] as Int32Array));
  }
}

function rankIn(cosines: Float32Array, right: Int32Array): number {
  const best = right.reduce((most, i) => Math.max(most, cosines[i] as number), Number.NEGATIVE_INFINITY);
  let rank = 1;
  for (const cosine of cosines) if (cosine >= best) rank++;
  // Right ones that are as near as the best do not stand before it.
  return right.reduce((left, i) => ((cosines[i] as number) >= best ? left - 1 : left), rank);
}

/** @throws where there are no queries. */
export function recallOf(found: Int32Array): Recall {
  if (found.length === 0) throw new Error("recall: there are no queries");
  const share = (k: number) => found.reduce((count, rank) => count + Number(rank <= k), 0) / found.length;
  const sorted = found.toSorted();
  return {
    at1: share(1),
    at5: share(5),
    at10: share(10),
    medianRank: sorted[Math.floor((sorted.length - 1) / 2)] as number,
  };
}

/** Of texts by their images, and of images by their texts. `turn` is awaited after every 256 queries; it may throw to stop. */
export async function recallBothWays(
  images: Rows,
  texts: Rows,
  unique: UniqueTexts,
  dim: number,
  turn: () => Promise<void> = async () => undefined,
): Promise<{ text: Recall; image: Recall }> {
  const recall = async (...of: Parameters<typeof ranks>): Promise<Recall> => {
    const found: number[] = [];
    for (const some of ranks(...of)) {
      found.push(...some);
      await turn();
    }
    return recallOf(Int32Array.from(found));
  };
  return {
    text: await recall(images, texts, unique.own, dim),
    image: await recall(texts, images, imagesOf(unique), dim),
  };
}
