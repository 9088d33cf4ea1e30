/**
 * WGSL of the tiled product on tensor cores: subgroup matrices of float16, sums in float32. The operands are those of
 * product.ts; a tile of C is shared by eight subgroups, four down and two across, each of which has a part of it.
 *
 * As in product.ts, slabs go through shared memory, the next one is fetched while the present one is multiplied, and every
 * sum runs over k in order: the tile changes the time, not the bits. C leaves through shared memory too, a strip of every
 * subgroup at a time, because only there are its rows known to WGSL.
 *
 * WGSL's subgroup matrices are an experiment of Dawn's, which few machines have. So this is used only on a device that was
 * asked first (`tune.ts`): a product is computed both ways, and where the two differ this one is not used.
 */
import { type Operand, type Product, SLAB, STATISTICS_ROWS } from "./product.ts";

/** What a device multiplies at once: [rows, depth] x [depth, columns]. */
export interface MatrixConfig {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  /** Lanes of a subgroup, the same for every subgroup. */
  readonly lanes: number;
}

export interface MatrixTile {
  readonly rows: typeof STATISTICS_ROWS;
  readonly columns: 64 | 128;
}

/** The large one reads less for what it multiplies, the other is for products of few columns. */
export const matrixTiles: readonly MatrixTile[] = [
  { rows: STATISTICS_ROWS, columns: 128 },
  { rows: STATISTICS_ROWS, columns: 64 },
];

const [DOWN, ACROSS] = [4, 2];
/** k's in shared memory at a time; emulated, in float32, there is room for few. */
const depthOf = (emulated: boolean) => (emulated ? SLAB / 4 : SLAB);
/** Rows of a subgroup's part. */
const PART = STATISTICS_ROWS / DOWN;
/** Columns of a subgroup's part that leave together, and of all subgroups'. */
const STRIP = 32;
const STRIPS = ACROSS * STRIP;
/** Added to rows of shared memory, so that neighbouring ones do not lie in the same banks; 16 bytes, as loads are aligned. */
const [HALF_GAP, GAP] = [8, 4];

const leftRow = (deep: number) => deep + HALF_GAP;
const rightRow = ({ columns }: MatrixTile) => columns + HALF_GAP;
const stripRow = STRIPS + GAP;

/** Bytes of workgroup memory: two slabs of float16, a strip of every subgroup in float32. */
export function matrixShared(tile: MatrixTile, { rows }: MatrixConfig, emulated = false): number {
  const deep = depthOf(emulated);
  return (emulated ? 4 : 2) * (tile.rows * leftRow(deep) + deep * rightRow(tile)) + 4 * DOWN * rows * stripRow;
}

export const matrixThreads = ({ lanes }: MatrixConfig): number => DOWN * ACROSS * lanes;

/** Whether this file's tiles are made of such matrices. */
export const fitsTile = (config: MatrixConfig): boolean =>
  PART % config.rows === 0 &&
  STRIP % config.columns === 0 &&
  SLAB % config.depth === 0 &&
  8 * matrixThreads(config) <= DOWN * config.rows * stripRow;

const count = (n: number) => Array.from({ length: n }, (_, i) => i);

/** How the threads fetch a slab and put it into shared memory: A as [row][k], B as [k][column]. `outer`: its rows or columns. */
function fetcher(
  p: "a" | "b",
  { along, inFours }: Operand,
  { outer, deep, row, threads }: Record<"outer" | "deep" | "row" | "threads", number>,
) {
  const first = p === "a" ? "firstRow" : "firstColumn";
  const at = (o: string, k: string) => (p === "a" ? `(${o}) * ${row}u + ${k}` : `(${k}) * ${row}u + ${o}`);
  if (!inFours) {
    const put = `for (var e = local; e < ${outer * deep}u; e += ${threads}u) {
      let outer = e / ${deep}u;
      ${p}s_[${at("outer", `e % ${deep}u`)}] = Half(${p}_load(${p}_outer(${first} + outer), k + e % ${deep}u));
    }`;
    return { setUp: [], fetch: [], put: [put] };
  }
  const fours = (outer * deep) / 4;
  const rounds = count(Math.ceil(fours / threads)).map((round) => {
    const e = `(local + ${round * threads}u)`;
    const guard = (line: string) => ((round + 1) * threads <= fours ? line : `if (${e} < ${fours}u) { ${line} }`);
    const [o, k] =
      along === "k"
        ? [`${e} / ${deep / 4}u`, `${e} % ${deep / 4}u * 4u`]
        : [`${e} % ${outer / 4}u * 4u`, `${e} / ${outer / 4}u`];
    const [place, value] = [`${p}o${round}`, `${p}v${round}`];
    const put = count(4).map((i) => {
      const to = along === "k" ? at(o, `${k} + ${i}u`) : at(`${o} + ${i}u`, k);
      return `${p}s_[${to}] = ${value}[${i}];`;
    });
    return {
      setUp: `let ${place} = ${p}_outer(${first} + ${o}); var ${value} = vec4<Half>();`,
      fetch: guard(`${value} = vec4<Half>(${p}_load(${place}, next + ${k}));`),
      put: guard(put.join(" ")),
    };
  });
  const part = (of: "setUp" | "fetch" | "put") => rounds.map((round) => round[of]);
  return { setUp: part("setUp"), fetch: part("fetch"), put: part("put") };
}

/** Where things lie, for one tile of one kind of matrices. */
interface Layout extends MatrixConfig {
  /** k's of a slab; values of a row of A's slab, and of B's. */
  readonly deep: number;
  readonly left: number;
  readonly right: number;
  /** Columns of a subgroup's part. */
  readonly width: number;
}

/** How a subgroup holds its part of C. */
interface Arithmetic {
  /** WGSL: what holds it; adds the products of a slab; puts its rows of block i and columns of strip j into `cs_`. */
  readonly sums: string;
  readonly multiply: string;
  readonly stage: (i: number, j: number) => string;
}

const lines = (all: readonly string[], indent = 6) => all.join(`\n${" ".repeat(indent)}`);

function onCores({ rows, columns, depth, deep, left, right, width }: Layout): Arithmetic {
  const [down, across] = [PART / rows, width / columns];
  const blocks = count(down).flatMap((i) => count(across).map((j) => ({ i, j })));
  const typeOf = (kind: string, type: string, [c, r]: [number, number]) =>
    `subgroup_matrix_${kind}<${type}, ${c}, ${r}>`;
  // The type's sizes are columns, then rows.
  const [leftType, rightType] = [typeOf("left", "f16", [depth, rows]), typeOf("right", "f16", [columns, depth])];
  const result = typeOf("result", "f32", [columns, rows]);
  return {
    sums: blocks.map(({ i, j }) => `var c${i}_${j} = ${result}();`).join(" "),
    multiply: `
    for (var d = 0u; d < ${deep}u; d += ${depth}u) {
      ${lines(count(down).map((i) => `let a${i} = subgroupMatrixLoad<${leftType}, row_major>(&as_, (partRow + ${i * rows}u) * ${left}u + d, ${left}u);`))}
      ${lines(count(across).map((j) => `let b${j} = subgroupMatrixLoad<${rightType}, row_major>(&bs_, d * ${right}u + partColumn + ${j * columns}u, ${right}u);`))}
      ${lines(blocks.map(({ i, j }) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}, b${j}, c${i}_${j});`))}
    }`,
    stage: (i, j) =>
      lines(
        count(STRIP / columns).map(
          (n) =>
            `subgroupMatrixStore<row_major>(&cs_, subgroup / ${ACROSS}u * ${rows * stripRow}u + subgroup % ${ACROSS}u * ${STRIP}u + ${n * columns}u, c${i}_${(j * STRIP) / columns + n}, ${stripRow}u);`,
        ),
        2,
      ),
  };
}

/** Without subgroup matrices and in float32, for a test on a device that has none. */
function emulating({ rows, lanes, deep, left, right, width }: Layout): Arithmetic {
  const own = (PART * width) / lanes;
  return {
    sums: `var c = array<f32, ${own}>();`,
    multiply: `
    for (var n = 0u; n < ${own}u; n++) {
      let e = lane + n * ${lanes}u;
      for (var d = 0u; d < ${deep}u; d++) {
        c[n] += as_[(partRow + e / ${width}u) * ${left}u + d] * bs_[d * ${right}u + partColumn + e % ${width}u];
      }
    }`,
    stage: (i, j) => `for (var n = 0u; n < ${own}u; n++) {
    let e = lane + n * ${lanes}u;
    let row = e / ${width}u;
    let column = e % ${width}u;
    if (row / ${rows}u == ${i}u && column / ${STRIP}u == ${j}u) {
      cs_[(subgroup / ${ACROSS}u * ${rows}u + row % ${rows}u) * ${stripRow}u + subgroup % ${ACROSS}u * ${STRIP}u + column % ${STRIP}u] = c[n];
    }
  }`,
  };
}

/** C leaves, strip by strip; where it is wanted with the sums over its rows (see Product). */
function leave(keep: boolean, { rows, width }: Layout, threads: number, stage: Arithmetic["stage"]): string {
  const fours = STRIPS / 4;
  /** Threads that share four columns' sums. */
  const sharers = threads / fours;
  const columnOf = (column: string, j: number) =>
    `firstColumn + ${column} / ${STRIP}u * ${width}u + ${j * STRIP}u + ${column} % ${STRIP}u`;
  const add = (i: number) => `{
    let column = local % ${fours}u * 4u;
    ${i === 0 ? "first = four(column);" : ""}
    for (var row = local / ${fours}u; row < ${DOWN * rows}u; row += ${sharers}u) {
      let d = four(row * ${stripRow}u + column) - first;
      sum += d;
      square += d * d;
    }
  }`;
  const store = (i: number, j: number) => `
  workgroupBarrier();
  ${stage(i, j)}
  workgroupBarrier();
  for (var e = local; e < ${DOWN * rows * fours}u; e += ${threads}u) {
    let row = e / ${fours}u;
    let column = e % ${fours}u * 4u;
    let whole = firstRow + row / ${rows}u * ${PART}u + ${i * rows}u + row % ${rows}u;
    store(whole, ${columnOf("column", j)}, four(row * ${stripRow}u + column));
  }
  ${keep ? add(i) : ""}`;
  const together = (j: number) => `
  workgroupBarrier();
  // The strip is stored: its room takes the threads' sums.
  for (var e = 0u; e < 4u; e++) { cs_[local * 8u + e] = sum[e]; cs_[local * 8u + 4u + e] = square[e]; }
  workgroupBarrier();
  if (local < ${fours}u) {
    for (var other = 1u; other < ${sharers}u; other++) {
      sum += four((local + other * ${fours}u) * 8u);
      square += four((local + other * ${fours}u) * 8u + 4u);
    }
    let column = local * 4u;
    keep(group.y, ${columnOf("column", j)}, first, sum, square);
  }
  sum = vec4f();
  square = vec4f();`;
  const strip = (j: number) =>
    count(PART / rows)
      .map((i) => store(i, j))
      .join("") + (keep ? together(j) : "");
  const sums = keep ? "var first = vec4f(); var sum = vec4f(); var square = vec4f();" : "";
  return `${sums}${count(width / STRIP)
    .map(strip)
    .join("")}`;
}

/** The entry point. `groups` of a launch: columns, rows, slices. */
export function matrixProductCode(product: Product, tile: MatrixTile, config: MatrixConfig, emulated = false): string {
  const threads = matrixThreads(config);
  const deep = depthOf(emulated);
  const layout: Layout = { ...config, deep, left: leftRow(deep), right: rightRow(tile), width: tile.columns / ACROSS };
  const { rows, lanes, left, right, width } = layout;
  const { sums, multiply, stage } = emulated ? emulating(layout) : onCores(layout);
  const a = fetcher("a", product.a, { outer: tile.rows, deep, row: left, threads });
  const b = fetcher("b", product.b, { outer: tile.columns, deep, row: right, threads });
  return `
${product.a.code}
${product.b.code}
${product.store}
${product.keep ?? ""}
alias Half = ${emulated ? "f32" : "f16"};
var<private> slice: u32;
${product.range}
var<workgroup> as_: array<Half, ${tile.rows * left}>;
var<workgroup> bs_: array<Half, ${deep * right}>;
var<workgroup> cs_: array<f32, ${DOWN * rows * stripRow}>;
fn four(at: u32) -> vec4f { return vec4f(cs_[at], cs_[at + 1u], cs_[at + 2u], cs_[at + 3u]); }

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  slice = group.z;
  ${product.prepare ?? ""}
  let firstRow = group.y * ${tile.rows}u;
  let firstColumn = group.x * ${tile.columns}u;
  let subgroup = local / ${lanes}u;
  let lane = local % ${lanes}u;
  let partRow = subgroup / ${ACROSS}u * ${PART}u;
  let partColumn = subgroup % ${ACROSS}u * ${width}u;
  let ks = range(group.z);
  ${lines([...a.setUp, ...b.setUp], 2)}
  ${sums}
  var next = ks.x;
  ${lines([...a.fetch, ...b.fetch], 2)}
  for (var k = ks.x; k < ks.y; k += ${deep}u) {
    workgroupBarrier();
    ${lines([...a.put, ...b.put], 4)}
    workgroupBarrier();
    next = k + ${deep}u;
    if (next < ks.y) {
      ${lines([...a.fetch, ...b.fetch])}
    }
    ${multiply}
  }
  ${leave(product.keep !== undefined, layout, threads, stage)}
}`;
}

/** Goes before everything else in a module. */
export const matrixHeader = `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
`;

/** The first configuration that some tile is made of, of those that a device offers; undefined: none. */
export function matrixConfigOf(device: GPUDevice, info: GPUAdapterInfo): MatrixConfig | undefined {
  const needed = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"];
  const { subgroupMinSize, subgroupMaxSize } = info;
  if (!needed.every((name) => device.features.has(name)) || subgroupMinSize !== subgroupMaxSize) return undefined;
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
    .find((config) => fitsTile(config) && matrixTilesOn(device.limits, config).length > 0);
}

/** The tiles that a device has room for. */
export const matrixTilesOn = (
  limits: Pick<GPUSupportedLimits, "maxComputeWorkgroupStorageSize" | "maxComputeInvocationsPerWorkgroup">,
  config: MatrixConfig,
  emulated = false,
): MatrixTile[] =>
  matrixThreads(config) <= limits.maxComputeInvocationsPerWorkgroup
    ? matrixTiles.filter((tile) => matrixShared(tile, config, emulated) <= limits.maxComputeWorkgroupStorageSize)
    : [];
