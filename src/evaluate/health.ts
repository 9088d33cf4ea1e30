/**
 * How features are spread, without labels: what tells a collapse from learning.
 * Features f32[N, F]; every figure here is of rows of unit length but the effective rank.
 */
import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import type { Spread } from "../schema/verdict.ts";
import { unitRows } from "./knn.ts";

/** Rows used: the figures are means over pairs, and settle far below this. */
const ROWS = 1024;
/** Eigenvalues of a larger matrix would take seconds: fewer rows then bound it. */
const LARGEST_MATRIX = 512;

export function spreadOf(features: Float32Array, dim: number): Spread {
  const rows = Math.min(ROWS, features.length / dim);
  const unit = unitRows(features.subarray(0, rows * dim), dim);
  return {
    uniformity: uniformity(unit, dim),
    effectiveRank: effectiveRank(features.subarray(0, rows * dim), dim),
    std: coordinateStd(unit, dim),
  };
}

function uniformity(unit: Float32Array, dim: number): number {
  const rows = unit.length / dim;
  let sum = 0;
  for (let a = 0; a < rows; a++) {
    for (let b = 0; b < a; b++) {
      let cosine = 0;
      for (let i = 0; i < dim; i++) cosine += (unit[a * dim + i] as number) * (unit[b * dim + i] as number);
      sum += Math.exp(-2 * (2 - 2 * cosine));
    }
  }
  return Math.log(sum / ((rows * (rows - 1)) / 2));
}

function coordinateStd(unit: Float32Array, dim: number): number {
  const rows = unit.length / dim;
  let total = 0;
  for (let i = 0; i < dim; i++) {
    let mean = 0;
    for (let r = 0; r < rows; r++) mean += (unit[r * dim + i] as number) / rows;
    let square = 0;
    for (let r = 0; r < rows; r++) square += ((unit[r * dim + i] as number) - mean) ** 2 / rows;
    total += Math.sqrt(square) / dim;
  }
  return total * Math.sqrt(dim);
}

/** The singular values of Z are the roots of the eigenvalues of the smaller of Z'Z and ZZ'. */
function effectiveRank(features: Float32Array, dim: number): number {
  const rows = dim > LARGEST_MATRIX ? Math.min(LARGEST_MATRIX, features.length / dim) : features.length / dim;
  const z = Matrix.from1DArray(rows, dim, features.subarray(0, rows * dim));
  const gram = rows < dim ? z.mmul(z.transpose()) : z.transpose().mmul(z);
  const { realEigenvalues } = new EigenvalueDecomposition(gram, { assumeSymmetric: true });
  const singular = realEigenvalues.map((value) => Math.sqrt(Math.max(0, value)));
  const total = singular.reduce((a, b) => a + b, 0);
  if (total === 0) return 0;
  const entropy = singular.reduce((sum, s) => (s > 0 ? sum - (s / total) * Math.log(s / total) : sum), 0);
  return Math.exp(entropy);
}
