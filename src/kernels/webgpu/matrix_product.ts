/**
 * WGSL of the tiled product on tensor cores: subgroup matrices of float16, sums in float32. The operands are those of
 * product.ts; a tile of C is shared by subgroups, each of which has a square of it.
 *
 * WGSL's subgroup matrices are an experiment of Dawn's, which few machines have. So this is used only on a device that was
 * asked first (`tuned.ts`): a product is computed both ways, and where the two differ this one is not used.
 */
import type { Operand, Product } from "./product.ts";

/** What a device multiplies at once: [rows, depth] x [depth, columns]. */
export interface MatrixConfig {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  /** Lanes of a subgroup, the same for every subgroup. */
  readonly lanes: number;
}

/** Rows and columns of a workgroup's tile, and k's in shared memory at a time. */
export const MATRIX_TILE = 64;
const DEPTH = 32;
/** A subgroup's square; four of them make the tile. */
const SQUARE = 32;
/** Bytes of workgroup memory: two slabs of float16, the tile in float32. */
export const MATRIX_SHARED = 2 * 2 * MATRIX_TILE * DEPTH + 4 * MATRIX_TILE * MATRIX_TILE;

export const matrixThreads = ({ lanes }: MatrixConfig): number => 4 * lanes;

/** Whether this file's tile is made of such matrices. */
export const fitsTile = ({ rows, columns, depth }: MatrixConfig): boolean =>
  SQUARE % rows === 0 && SQUARE % columns === 0 && DEPTH % depth === 0;

/** Fills a slab: A as [row][k], B as [k][column]. */
function fill(p: "a" | "b", { along, inFours }: Operand, threads: number): string {
  const first = p === "a" ? "firstRow" : "firstColumn";
  const at = (outer: string, k: string) =>
    p === "a" ? `(${outer}) * ${DEPTH}u + ${k}` : `(${k}) * ${MATRIX_TILE}u + ${outer}`;
  const total = MATRIX_TILE * DEPTH;
  if (!inFours) {
    return `for (var e = local; e < ${total}u; e += ${threads}u) {
      let outer = e / ${DEPTH}u;
      ${p}s_[${at("outer", `e % ${DEPTH}u`)}] = Half(${p}_load(${p}_outer(${first} + outer), k + e % ${DEPTH}u));
    }`;
  }
  const [width, outer, k] =
    along === "k"
      ? [DEPTH / 4, `e / ${DEPTH / 4}u`, `e % ${DEPTH / 4}u * 4u`]
      : [MATRIX_TILE / 4, `e % ${MATRIX_TILE / 4}u * 4u`, `e / ${MATRIX_TILE / 4}u`];
  const put = [0, 1, 2, 3].map((i) => {
    const place = along === "k" ? at("outer", `inner + ${i}u`) : at(`outer + ${i}u`, "inner");
    return `${p}s_[${place}] = Half(v[${i}]);`;
  });
  return `// in rows of ${width} fours
    for (var e = local; e < ${total / 4}u; e += ${threads}u) {
      let outer = ${outer};
      let inner = ${k};
      let v = ${p}_load(${p}_outer(${first} + outer), k + inner);
      ${put.join(" ")}
    }`;
}

/** Sums over the tile's rows (see Product): four threads share four columns. */
const keeping = `{
    let column = local % ${MATRIX_TILE / 4}u * 4u;
    let first = four(column);
    var sum = vec4f();
    var square = vec4f();
    let part = local / ${MATRIX_TILE / 4}u;
    if (part < 4u) {
      for (var row = part * ${MATRIX_TILE / 4}u; row < (part + 1u) * ${MATRIX_TILE / 4}u; row++) {
        let d = four(row * ${MATRIX_TILE}u + column) - first;
        sum += d;
        square += d * d;
      }
    }
    workgroupBarrier();
    // The tile is stored: its room takes the parts.
    for (var e = 0u; e < 4u; e++) {
      if (part < 4u) {
        cs_[local * 8u + e] = sum[e];
        cs_[local * 8u + 4u + e] = square[e];
      }
    }
    workgroupBarrier();
    if (part == 0u) {
      for (var other = 1u; other < 4u; other++) {
        sum += four((local + other * ${MATRIX_TILE / 4}u) * 8u);
        square += four((local + other * ${MATRIX_TILE / 4}u) * 8u + 4u);
      }
      keep(group.y, firstColumn + column, first, sum, square);
    }
  }`;

/**
 * The entry point. `groups` of a launch: columns, rows, slices. `emulated`: the same without subgroup matrices and in float32,
 * for a test on a device that has none.
 */
export function matrixProductCode(product: Product, config: MatrixConfig, emulated = false): string {
  const { rows, columns, depth, lanes } = config;
  const threads = matrixThreads(config);
  const [down, across] = [SQUARE / rows, SQUARE / columns];
  const blocks = Array.from({ length: down * across }, (_, i) => ({ i: Math.floor(i / across), j: i % across }));
  const of = (kind: string, type: string, [c, r]: [number, number]) => `subgroup_matrix_${kind}<${type}, ${c}, ${r}>`;
  // The type's sizes are columns, then rows.
  const left = of("left", "f16", [depth, rows]);
  const right = of("right", "f16", [columns, depth]);
  const result = of("result", "f32", [columns, rows]);
  const at = (i: string, j: string) => `(squareRow + ${i}) * ${MATRIX_TILE}u + squareColumn + ${j}`;
  const multiply = `
    for (var d = 0u; d < ${DEPTH}u; d += ${depth}u) {
      ${Array.from({ length: down }, (_, i) => `let a${i} = subgroupMatrixLoad<${left}>(&as_, (squareRow + ${i * rows}u) * ${DEPTH}u + d, false, ${DEPTH}u);`).join("\n      ")}
      ${Array.from({ length: across }, (_, j) => `let b${j} = subgroupMatrixLoad<${right}>(&bs_, d * ${MATRIX_TILE}u + squareColumn + ${j * columns}u, false, ${MATRIX_TILE}u);`).join("\n      ")}
      ${blocks.map(({ i, j }) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}, b${j}, c${i}_${j});`).join("\n      ")}
    }`;
  const emulation = `
    for (var e = lane; e < ${SQUARE * SQUARE}u; e += ${lanes}u) {
      var sum = cs_[${at(`e / ${SQUARE}u`, `e % ${SQUARE}u`)}];
      for (var d = 0u; d < ${DEPTH}u; d++) {
        sum += as_[(squareRow + e / ${SQUARE}u) * ${DEPTH}u + d] * bs_[d * ${MATRIX_TILE}u + squareColumn + e % ${SQUARE}u];
      }
      cs_[${at(`e / ${SQUARE}u`, `e % ${SQUARE}u`)}] = sum;
    }`;
  const keep = blocks.map(
    ({ i, j }) =>
      `subgroupMatrixStore(&cs_, ${at(`${i * rows}u`, `${j * columns}u`)}, c${i}_${j}, false, ${MATRIX_TILE}u);`,
  );
  return `
${product.a.code}
${product.b.code}
${product.store}
${product.keep ?? ""}
alias Half = ${emulated ? "f32" : "f16"};
var<private> slice: u32;
${product.range}
var<workgroup> as_: array<Half, ${MATRIX_TILE * DEPTH}>;
var<workgroup> bs_: array<Half, ${MATRIX_TILE * DEPTH}>;
var<workgroup> cs_: array<f32, ${MATRIX_TILE * MATRIX_TILE}>;
fn four(at: u32) -> vec4f { return vec4f(cs_[at], cs_[at + 1u], cs_[at + 2u], cs_[at + 3u]); }

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  slice = group.z;
  ${product.prepare ?? ""}
  let firstRow = group.y * ${MATRIX_TILE}u;
  let firstColumn = group.x * ${MATRIX_TILE}u;
  let subgroup = local / ${lanes}u;
  let lane = local % ${lanes}u;
  let squareRow = subgroup / 2u * ${SQUARE}u;
  let squareColumn = subgroup % 2u * ${SQUARE}u;
  let ks = range(group.z);
  ${emulated ? "" : blocks.map(({ i, j }) => `var c${i}_${j} = ${result}();`).join(" ")}
  for (var k = ks.x; k < ks.y; k += ${DEPTH}u) {
    workgroupBarrier();
    ${fill("a", product.a, threads)}
    ${fill("b", product.b, threads)}
    workgroupBarrier();
    ${emulated ? emulation : multiply}
  }
  ${emulated ? "" : keep.join("\n  ")}
  workgroupBarrier();
  for (var e = local; e < ${(MATRIX_TILE * MATRIX_TILE) / 4}u; e += ${threads}u) {
    let row = e / ${MATRIX_TILE / 4}u;
    let column = e % ${MATRIX_TILE / 4}u * 4u;
    store(firstRow + row, firstColumn + column, four(row * ${MATRIX_TILE}u + column));
  }
  ${product.keep ? keeping : ""}
}`;
}

/** Goes before everything else in a module. */
export const matrixHeader = `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
`;

/** The first configuration that the tile is made of, of those that a device offers; undefined: none. */
export function matrixConfigOf(device: GPUDevice, info: GPUAdapterInfo): MatrixConfig | undefined {
  const needed = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"];
  const { subgroupMinSize, subgroupMaxSize } = info;
  if (!needed.every((name) => device.features.has(name)) || subgroupMinSize !== subgroupMaxSize) return undefined;
  if (device.limits.maxComputeWorkgroupStorageSize < MATRIX_SHARED) return undefined;
  const { subgroupMatrixConfigs = [] } = info as GPUAdapterInfo & {
    subgroupMatrixConfigs?: readonly {
      componentType: string;
      resultComponentType: string;
      M: number;
      N: number;
      K: number;
    }[];
  };
  return subgroupMatrixConfigs
    .filter(({ componentType, resultComponentType }) => componentType === "f16" && resultComponentType === "f32")
    .map(({ M, N, K }) => ({ rows: M, columns: N, depth: K, lanes: subgroupMaxSize }))
    .find((config) => fitsTile(config) && matrixThreads(config) <= device.limits.maxComputeInvocationsPerWorkgroup);
}
