/** Paired differences over seeds with their interval. */
import { sampleOf } from "../util/sample.ts";

/** 97.5% quantiles of Student's t for 1 to 30 degrees of freedom. */
const T = [
  12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.306, 2.2622, 2.2281, 2.201, 2.1788, 2.1604, 2.1448, 2.1314,
  2.1199, 2.1098, 2.1009, 2.093, 2.086, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
];
const NORMAL = 1.959964;

/** Beyond the table by the expansion of Cornish and Fisher, exact to four digits there. */
export function tQuantile(freedom: number): number {
  const z = NORMAL;
  return T[freedom - 1] ?? z + (z ** 3 + z) / (4 * freedom) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * freedom ** 2);
}

export interface Difference {
  readonly mean: number;
  /** 95%, by Student's t; null for a single pair. */
  readonly interval: readonly [low: number, high: number] | null;
  readonly pairs: number;
}

/** Of the differences of pairs; undefined: there are none. */
export function differenceOf(differences: readonly number[]): Difference | undefined {
  const pairs = differences.length;
  if (pairs === 0) return undefined;
  const { mean, deviation } = sampleOf(differences);
  if (deviation === null) return { mean, interval: null, pairs };
  const half = (tQuantile(pairs - 1) * deviation) / Math.sqrt(pairs);
  return { mean, interval: [mean - half, mean + half], pairs };
}
