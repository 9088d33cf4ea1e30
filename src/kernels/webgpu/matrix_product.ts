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
/** k's in shared memory at a time; emulated, in float32, there is room for half as many. */
const depthOf = (emulated: boolean) => (emulated ? SLAB / 2 : SLAB);
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

/**
 * The entry point. `groups` of a launch: columns, rows, slices. `emulated`: the same without subgroup matrices and in float32,
 * for a test on a device that has none.
 */
export function matrixProductCode(product: Product, tile: MatrixTile, config: MatrixConfig, emulated = false): string {
  const { rows, columns, depth, lanes } = config;
  const threads = matrixThreads(config);
  /** Columns of a subgroup's part, and how many strips it leaves in. */
  const width = tile.columns / ACROSS;
  const [down, across, strips] = [PART / rows, width / columns, width / STRIP];
  const deep = depthOf(emulated);
  const [leftAcross, rightAcross] = [leftRow(deep), rightRow(tile)];
  const a = fetcher("a", product.a, { outer: tile.rows, deep, row: leftAcross, threads });
  const b = fetcher("b", product.b, { outer: tile.columns, deep, row: rightAcross, threads });
  const blocks = count(down).flatMap((i) => count(across).map((j) => ({ i, j })));
  const of = (kind: string, type: string, [c, r]: [number, number]) => `subgroup_matrix_${kind}<${type}, ${c}, ${r}>`;
  // The type's sizes are columns, then rows.
  const leftType = of("left", "f16", [depth, rows]);
  const rightType = of("right", "f16", [columns, depth]);
  const result = of("result", "f32", [columns, rows]);
  const lines = (all: readonly string[], indent = 6) => all.join(`\n${" ".repeat(indent)}`);
  const multiply = `
    for (var d = 0u; d < ${deep}u; d += ${depth}u) {
      ${lines(count(down).map((i) => `let a${i} = subgroupMatrixLoad<${leftType}, row_major>(&as_, (partRow + ${i * rows}u) * ${leftAcross}u + d, ${leftAcross}u);`))}
      ${lines(count(across).map((j) => `let b${j} = subgroupMatrixLoad<${rightType}, row_major>(&bs_, d * ${rightAcross}u + partColumn + ${j * columns}u, ${rightAcross}u);`))}
      ${lines(blocks.map(({ i, j }) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}, b${j}, c${i}_${j});`))}
    }`;
  const own = (PART * width) / lanes;
  const emulation = `
    for (var n = 0u; n < ${own}u; n++) {
      let e = lane + n * ${lanes}u;
      for (var d = 0u; d < ${deep}u; d++) {
        c[n] += as_[(partRow + e / ${width}u) * ${leftAcross}u + d] * bs_[d * ${rightAcross}u + partColumn + e % ${width}u];
      }
    }`;
  /** Puts the strip of row block i and strip j of every subgroup into `cs_`. */
  const stage = (i: number, j: number) =>
    emulated
      ? `for (var n = 0u; n < ${own}u; n++) {
    let e = lane + n * ${lanes}u;
    let row = e / ${width}u;
    let column = e % ${width}u;
    if (row / ${rows}u == ${i}u && column / ${STRIP}u == ${j}u) {
      cs_[(subgroup / ${ACROSS}u * ${rows}u + row % ${rows}u) * ${stripRow}u + subgroup % ${ACROSS}u * ${STRIP}u + column % ${STRIP}u] = c[n];
    }
  }`
      : lines(
          count(STRIP / columns).map(
            (n) =>
              `subgroupMatrixStore<row_major>(&cs_, subgroup / ${ACROSS}u * ${rows * stripRow}u + subgroup % ${ACROSS}u * ${STRIP}u + ${n * columns}u, c${i}_${(j * STRIP) / columns + n}, ${stripRow}u);`,
          ),
          2,
        );
  /** Threads that share four columns' sums, and their rows of a staged strip. */
  const sharers = threads / (STRIPS / 4);
  const keepStrip = (i: number) => `{
    let column = local % ${STRIPS / 4}u * 4u;
    ${i === 0 ? "first = four(column);" : ""}
    for (var row = local / ${STRIPS / 4}u; row < ${DOWN * rows}u; row += ${sharers}u) {
      let d = four(row * ${stripRow}u + column) - first;
      sum += d;
      square += d * d;
    }
  }`;
  const leave = count(strips).flatMap((j) => [
    product.keep ? "sum = vec4f(); square = vec4f();" : "",
    ...count(down).map(
      (i) => `
  workgroupBarrier();
  ${stage(i, j)}
  workgroupBarrier();
  for (var e = local; e < ${(DOWN * rows * STRIPS) / 4}u; e += ${threads}u) {
    let row = e / ${STRIPS / 4}u;
    let column = e % ${STRIPS / 4}u * 4u;
    store(
      firstRow + row / ${rows}u * ${PART}u + ${i * rows}u + row % ${rows}u,
      firstColumn + column / ${STRIP}u * ${width}u + ${j * STRIP}u + column % ${STRIP}u,
      four(row * ${stripRow}u + column)
    );
  }
  ${product.keep ? keepStrip(i) : ""}`,
    ),
    product.keep
      ? `
  workgroupBarrier();
  // The strip is stored: its room takes the threads' sums.
  for (var e = 0u; e < 4u; e++) { cs_[local * 8u + e] = sum[e]; cs_[local * 8u + 4u + e] = square[e]; }
  workgroupBarrier();
  if (local < ${STRIPS / 4}u) {
    for (var other = 1u; other < ${sharers}u; other++) {
      sum += four((local + other * ${STRIPS / 4}u) * 8u);
      square += four((local + other * ${STRIPS / 4}u) * 8u + 4u);
    }
    let column = local * 4u;
    keep(group.y, firstColumn + column / ${STRIP}u * ${width}u + ${j * STRIP}u + column % ${STRIP}u, first, sum, square);
  }`
      : "",
  ]);
  return `
${product.a.code}
${product.b.code}
${product.store}
${product.keep ?? ""}
alias Half = ${emulated ? "f32" : "f16"};
var<private> slice: u32;
${product.range}
var<workgroup> as_: array<Half, ${tile.rows * leftAcross}>;
var<workgroup> bs_: array<Half, ${deep * rightAcross}>;
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
  ${emulated ? `var c = array<f32, ${own}>();` : blocks.map(({ i, j }) => `var c${i}_${j} = ${result}();`).join(" ")}
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
    ${emulated ? emulation : multiply}
  }
  ${product.keep ? "var first = vec4f(); var sum = vec4f(); var square = vec4f();" : ""}
  ${leave.join("")}
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
