/**
 * What a subgroup of attention's kernels for tensor cores multiplies: 16 rows of its own by a block of 32 others, and
 * their probabilities by the block again. Operands are in shared memory, rows of a head in float16 and rows of scores.
 */
import { type MatrixConfig, subgroupMatrix } from "../webgpu/subgroup_matrices.ts";

export const SUBGROUPS = 4;
/** Rows of a subgroup, and of a workgroup. */
export const PART = 16;
export const OWN = SUBGROUPS * PART;
/** Rows of the others at a time. */
export const BLOCK = 32;
/** Of shared memory, with a gap that keeps neighbouring rows out of the same banks, in fours of float32: of a row of scores. */
export const SCORE_ROW = (BLOCK + 4) / 4;
export const SCORES = SUBGROUPS * PART * SCORE_ROW;
export const LANES = 32;
export const THREADS = SUBGROUPS * LANES;

export const count = (n: number) => Array.from({ length: n }, (_, i) => i);
/** The same of a row of a head, in eights of float16. */
export const headRow = (d: number) => (d + 8) / 8;

/** Bytes of workgroup memory for heads of d. `gradient`: the backward pass has two operands of everything. */
export const sharedOf = (d: number, gradient: boolean): number =>
  16 * ((gradient ? 2 : 1) * (SCORES + OWN * headRow(d)) + 2 * BLOCK * headRow(d)) + 8 * (THREADS + BLOCK);

/** Where in a row of scores the float16 of column k is that took its place, in elements of eight: a lane's 16 begin where its scores do. */
const placeOf = (k: number): number => Math.floor(k / 16) * 4 + (k % 16) / 8;

/** Heads of d in fitting matrices. */
export const fitsHeads = ({ rows, columns, depth, lanes }: MatrixConfig, d: number): boolean =>
  lanes === LANES && PART % rows === 0 && PART % columns === 0 && PART % depth === 0 && d % PART === 0;

/** How a subgroup computes with 16 rows of its own. `own`, `block`: arrays of rows of a head; `scores`: of rows of scores. */
export interface RowProducts {
  /** WGSL functions. */
  readonly functions: string;
  /** WGSL: takes the own rows out of shared memory, once. */
  readonly take: (own: string) => string;
  /** WGSL: puts own rows times the block's, transposed, into `scores`. */
  readonly score: (own: string, block: string, scores: string) => string;
  /** WGSL: declares sums of 16 x d; adds probabilities, which are in `scores`, times the block's rows to them. */
  readonly declare: (sums: string) => string;
  readonly add: (sums: string, scores: string, block: string) => string;
  /** WGSL: puts columns [32 j, 32 j + 32) of the sums into `scores`. */
  readonly stage: (sums: string, j: number, scores: string) => string;
}

export function onCores({ rows, columns, depth }: MatrixConfig, d: number): RowProducts {
  const stride = headRow(d);
  const left = subgroupMatrix("left", "f16", { rows, columns: depth });
  const right = subgroupMatrix("right", "f16", { rows: depth, columns });
  const result = subgroupMatrix("result", "f32", { rows, columns });
  const down = count(PART / rows);
  const row = (i: number) => `(subgroup * ${PART}u + ${i * rows}u)`;
  const each = (width: number, line: (i: number, j: number) => string) =>
    down.flatMap((i) => count(width / columns).map((j) => line(i, j))).join("\n");
  return {
    functions: "",
    take: (own) =>
      count(d / depth)
        .flatMap((k) =>
          down.map(
            (i) =>
              `let ${own}${k}_${i} = subgroupMatrixLoad<${left}, row_major>(&${own}, ${row(i)} * ${stride}u + ${(k * depth) / 8}u, ${stride}u);`,
          ),
        )
        .join("\n  "),
    score: (own, block, scores) => `{
      ${each(BLOCK, (i, j) => `var c${i}_${j} = ${result}();`)}
      ${count(d / depth)
        .map((k) => {
          const at = `${(k * depth) / 8}u, ${stride}u`;
          const load = (j: number) =>
            `let b${j} = subgroupMatrixLoad<${right}, col_major>(&${block}, ${j * columns * stride}u + ${at});`;
          return `{
        ${count(BLOCK / columns)
          .map(load)
          .join("\n")}
        ${each(BLOCK, (i, j) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(${own}${k}_${i}, b${j}, c${i}_${j});`)}
      }`;
        })
        .join("\n")}
      ${each(BLOCK, (i, j) => `subgroupMatrixStore<row_major>(&${scores}, ${row(i)} * ${SCORE_ROW}u + ${(j * columns) / 4}u, c${i}_${j}, ${SCORE_ROW}u);`)}
    }`,
    declare: (sums) => each(d, (i, j) => `var ${sums}${i}_${j} = ${result}();`),
    add: (sums, scores, block) =>
      count(BLOCK / depth)
        .map(
          (k) => `{
        ${down.map((i) => `let a${i} = subgroupMatrixLoad<${left}, row_major>(&${scores}, ${row(i)} * ${SCORE_ROW}u + ${placeOf(k * depth)}u, ${SCORE_ROW}u);`).join("\n")}
        ${each(
          d,
          (i, j) =>
            `${sums}${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}, subgroupMatrixLoad<${right}, row_major>(&${block}, ${k * depth * stride + (j * columns) / 8}u, ${stride}u), ${sums}${i}_${j});`,
        )}
      }`,
        )
        .join("\n"),
    stage: (sums, j, scores) =>
      each(
        Math.min(BLOCK, d - j * BLOCK),
        (i, n) =>
          `subgroupMatrixStore<row_major>(&${scores}, ${row(i)} * ${SCORE_ROW}u + ${(n * columns) / 4}u, ${sums}${i}_${(j * BLOCK) / columns + n}, ${SCORE_ROW}u);`,
      ),
  };
}

/** Without subgroup matrices, for a test on a device that has none. */
export function emulating(d: number): RowProducts {
  const stride = headRow(d);
  const of = (sums: string, body: string) => `for (var n = 0u; n < ${(PART * d) / LANES}u; n++) {
      let e = lane + n * ${LANES}u;
      let row = subgroup * ${PART}u + e / ${d}u;
      let column = e % ${d}u;
      ${body.replaceAll("SUM", `${sums}[n]`)}
    }`;
  return {
    functions: `fn half_of(eight: vec4u, i: u32) -> f32 { return unpack2x16float(eight[i / 2u])[i % 2u]; }`,
    take: () => "",
    score: (own, block, scores) => `for (var n = 0u; n < ${(PART * BLOCK) / LANES}u; n++) {
      let e = lane + n * ${LANES}u;
      let row = subgroup * ${PART}u + e / ${BLOCK}u;
      let column = e % ${BLOCK}u;
      var sum = 0.0;
      for (var c = 0u; c < ${d}u; c++) {
        sum += half_of(${own}[row * ${stride}u + c / 8u], c % 8u) * half_of(${block}[column * ${stride}u + c / 8u], c % 8u);
      }
      ${scores}[row * ${SCORE_ROW}u + column / 4u][column % 4u] = bitcast<u32>(sum);
    }`,
    declare: (sums) => `var ${sums} = array<f32, ${(PART * d) / LANES}>();`,
    add: (sums, scores, block) =>
      of(
        sums,
        `for (var k = 0u; k < ${BLOCK}u; k++) {
        SUM += half_of(${scores}[row * ${SCORE_ROW}u + k / 16u * 4u + k % 16u / 8u], k % 8u) * half_of(${block}[k * ${stride}u + column / 8u], column % 8u);
      }`,
      ),
    stage: (sums, j, scores) =>
      of(
        sums,
        `if (column / ${BLOCK}u == ${j}u) { ${scores}[row * ${SCORE_ROW}u + column % ${BLOCK}u / 4u][column % 4u] = bitcast<u32>(SUM); }`,
      ),
  };
}
