/**
 * WGSL of the tiled product on tensor cores: subgroup matrices of float16, sums in float32. The operands are those of
 * product.ts; a tile of C is shared by subgroups, two down and two or four across, each of which has a part of it.
 *
 * As in product.ts, slabs go through shared memory, the next one is fetched while the present one is multiplied, and every
 * sum runs over k in order: the tile changes the time, not the bits. C leaves through shared memory too, a strip of every
 * subgroup at a time, because only there are its rows known to WGSL; it takes the slabs' room.
 */
import { type Operand, type Product, SLAB, STATISTICS_ROWS } from "./product.ts";
import { type MatrixConfig, matrixConfigsOf, subgroupMatrix } from "./subgroup_matrices.ts";

export interface MatrixTile {
  readonly rows: typeof STATISTICS_ROWS;
  readonly columns: number;
  /** Subgroups across. */
  readonly across: number;
  /** k's in shared memory at a time. */
  readonly deep: number;
}

/** Large ones read less for what they multiply, narrow ones are for products of few columns. */
export const matrixTiles: readonly MatrixTile[] = [
  { rows: STATISTICS_ROWS, columns: 128, across: 4, deep: 64 },
  { rows: STATISTICS_ROWS, columns: 128, across: 4, deep: 32 },
  { rows: STATISTICS_ROWS, columns: 256, across: 4, deep: 32 },
  { rows: STATISTICS_ROWS, columns: 64, across: 2, deep: 64 },
  { rows: STATISTICS_ROWS, columns: 64, across: 2, deep: 32 },
];

/** Subgroups down. As many in every tile, lest a column's sums be added up in another order. */
const DOWN = 2;
/** Rows of a subgroup's part. */
const PART = STATISTICS_ROWS / DOWN;
/** Columns of a subgroup's part that leave together. */
const STRIP = 32;
/** Added to rows of shared memory, so that neighbouring ones do not lie in the same banks; 16 bytes, as loads are aligned. */
const [HALF_GAP, GAP] = [8, 4];

/** Pairs of float32 in a row of all subgroups' strips. */
const stripRow = ({ across }: MatrixTile) => (across * STRIP + GAP) / 2;

/**
 * A slab of an operand in shared memory, four halves to an element, as it lies in memory: rows of the operand's own index
 * or of k. Subgroup matrices are loaded from either.
 */
interface Slab {
  /** Its first element. */
  readonly begin: number;
  readonly rows: number;
  /** Elements of a row with its gap. */
  readonly stride: number;
}

function slabOf({ along }: Pick<Operand, "along">, outer: number, deep: number, begin = 0): Slab {
  const [rows, columns] = along === "k" ? [outer, deep] : [deep, outer];
  return { begin, rows, stride: (columns + HALF_GAP) / 4 };
}

/** Elements of workgroup memory, at the most: two slabs of float16, and then a strip of every subgroup in float32. */
function poolOf(tile: MatrixTile, { rows }: MatrixConfig): number {
  const most = (outer: number) =>
    Math.max(
      ...(["k", "outer"] as const).map((along) => slabOf({ along }, outer, tile.deep)).map((s) => s.rows * s.stride),
    );
  return Math.max(most(tile.rows) + most(tile.columns), DOWN * rows * stripRow(tile));
}

/** The same in bytes. */
export const matrixShared = (tile: MatrixTile, config: MatrixConfig): number => 8 * poolOf(tile, config);

export const matrixThreads = ({ across }: MatrixTile, { lanes }: MatrixConfig): number => DOWN * across * lanes;

/** Whether a tile is made of such matrices. */
export const fitsTile = (tile: MatrixTile, config: MatrixConfig): boolean =>
  PART % config.rows === 0 && STRIP % config.columns === 0 && tile.deep % config.depth === 0 && SLAB % tile.deep === 0;

const count = (n: number) => Array.from({ length: n }, (_, i) => i);

/** How the threads fetch a slab and put it into shared memory. `outer`: the operand's rows or columns in a tile. */
function fetcher(
  p: "a" | "b",
  { along, inFours, stride, begin }: Operand & Slab,
  { outer, deep, threads }: Record<"outer" | "deep" | "threads", number>,
) {
  const first = p === "a" ? "firstRow" : "firstColumn";
  const fours = (outer * deep) / 4;
  if (!inFours) {
    const values = count(4).map((i) => `${p}_load(o, at + ${i}u)`);
    const put = `for (var e = local; e < ${fours}u; e += ${threads}u) {
      let o = ${p}_outer(${first} + e / ${deep / 4}u);
      let at = k + e % ${deep / 4}u * 4u;
      let v = vec4f(${values.join(", ")});
      pool_[${begin}u + e / ${deep / 4}u * ${stride}u + e % ${deep / 4}u] = vec2u(pack2x16float(v.xy), pack2x16float(v.zw));
    }`;
    return { setUp: [], fetch: [], put: [put] };
  }
  const across = (along === "k" ? deep : outer) / 4;
  const rounds = count(Math.ceil(fours / threads)).map((round) => {
    const e = `(local + ${round * threads}u)`;
    const guard = (line: string) => ((round + 1) * threads <= fours ? line : `if (${e} < ${fours}u) { ${line} }`);
    const [row, column] = [`${e} / ${across}u`, `${e} % ${across}u`];
    const [o, k] = along === "k" ? [row, `${column} * 4u`] : [`${column} * 4u`, row];
    const [place, value] = [`${p}o${round}`, `${p}v${round}`];
    return {
      setUp: `let ${place} = ${p}_outer(${first} + ${o}); var ${value} = vec2u();`,
      fetch: guard(`${value} = ${p}_load_halves(${place}, next + ${k});`),
      put: guard(`pool_[${begin}u + ${row} * ${stride}u + ${column}] = ${value};`),
    };
  });
  const part = (of: "setUp" | "fetch" | "put") => rounds.map((round) => round[of]);
  return { setUp: part("setUp"), fetch: part("fetch"), put: part("put") };
}

/** Where things lie, for one product in one tile of one kind of matrices. */
interface Layout extends MatrixConfig {
  readonly tile: MatrixTile;
  readonly threads: number;
  readonly a: Operand & Slab;
  readonly b: Operand & Slab;
  /** Columns of a subgroup's part. */
  readonly width: number;
}

/** How a subgroup holds its part of C. */
interface Arithmetic {
  /** WGSL: what holds it; adds the products of a slab; puts its rows of block i and columns of strip j into the pool. */
  readonly sums: string;
  readonly multiply: string;
  readonly stage: (i: number, j: number) => string;
  /** WGSL functions. */
  readonly functions?: string;
}

const lines = (all: readonly string[], indent = 6) => all.join(`\n${" ".repeat(indent)}`);

function onCores({ rows, columns, depth, tile, a, b, width }: Layout): Arithmetic {
  const [down, across] = [PART / rows, width / columns];
  const blocks = count(down).flatMap((i) => count(across).map((j) => ({ i, j })));
  const leftType = subgroupMatrix("left", "f16", { rows, columns: depth });
  const rightType = subgroupMatrix("right", "f16", { rows: depth, columns });
  const result = subgroupMatrix("result", "f32", { rows, columns });
  // A's rows run along memory where it lies along k, B's where it does not.
  const load = (p: "a" | "b", { along, begin, stride }: Operand & Slab, type: string, outer: string, d: number) => {
    const order = (along === "k") === (p === "a") ? "row_major" : "col_major";
    const at = along === "k" ? `(${outer}) * ${stride}u + ${d / 4}u` : `${d * stride}u + (${outer}) / 4u`;
    return `subgroupMatrixLoad<${type}, ${order}>(&pool_, ${begin}u + ${at}, ${stride}u)`;
  };
  const multiply = (d: number) => `{
      ${lines(count(down).map((i) => `let a${i} = ${load("a", a, leftType, `partRow + ${i * rows}u`, d)};`))}
      ${lines(count(across).map((j) => `let b${j} = ${load("b", b, rightType, `partColumn + ${j * columns}u`, d)};`))}
      ${lines(blocks.map(({ i, j }) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}, b${j}, c${i}_${j});`))}
    }`;
  const row = stripRow(tile);
  return {
    sums: blocks.map(({ i, j }) => `var c${i}_${j} = ${result}();`).join(" "),
    multiply: count(tile.deep / depth)
      .map((n) => multiply(n * depth))
      .join("\n"),
    stage: (i, j) =>
      lines(
        count(STRIP / columns).map(
          (n) =>
            `subgroupMatrixStore<row_major>(&pool_, subgroup / ${tile.across}u * ${rows * row}u + subgroup % ${tile.across}u * ${STRIP / 2}u + ${(n * columns) / 2}u, c${i}_${(j * STRIP) / columns + n}, ${row}u);`,
        ),
        2,
      ),
  };
}

/** Without subgroup matrices, for a test on a device that has none. */
function emulating({ rows, lanes, tile, a, b, width }: Layout): Arithmetic {
  const own = (PART * width) / lanes;
  const half = (p: "a" | "b", { along, begin, stride }: Operand & Slab) => {
    const [row, column] = along === "k" ? ["outer", "k"] : ["k", "outer"];
    return `fn ${p}_half(outer: u32, k: u32) -> f32 {
  let four = pool_[${begin}u + ${row} * ${stride}u + ${column} / 4u];
  return unpack2x16float(select(four.x, four.y, ${column} % 4u >= 2u))[${column} % 2u];
}`;
  };
  return {
    functions: `${half("a", a)}\n${half("b", b)}`,
    sums: `var c = array<f32, ${own}>();`,
    multiply: `
    for (var n = 0u; n < ${own}u; n++) {
      let e = lane + n * ${lanes}u;
      for (var d = 0u; d < ${tile.deep}u; d++) {
        c[n] += a_half(partRow + e / ${width}u, d) * b_half(partColumn + e % ${width}u, d);
      }
    }`,
    stage: (i, j) => `for (var n = 0u; n < ${own}u; n++) {
    let e = lane + n * ${lanes}u;
    let row = e / ${width}u;
    let column = e % ${width}u;
    if (row / ${rows}u == ${i}u && column / ${STRIP}u == ${j}u) {
      let at = subgroup % ${tile.across}u * ${STRIP}u + column % ${STRIP}u;
      pool_[(subgroup / ${tile.across}u * ${rows}u + row % ${rows}u) * ${stripRow(tile)}u + at / 2u][at % 2u] = bitcast<u32>(c[n]);
    }
  }`,
  };
}

/** C leaves, strip by strip; where it is wanted with the sums over its rows (see Product). */
function leave(keep: boolean, { rows, tile, threads, width }: Layout, stage: Arithmetic["stage"]): string {
  const fours = (tile.across * STRIP) / 4;
  const stride = stripRow(tile);
  /** Threads that share four columns, and their sums. */
  const sharers = threads / fours;
  const columnOf = (j: number) => `firstColumn + column / ${STRIP}u * ${width}u + ${j * STRIP}u + column % ${STRIP}u`;
  const each = (body: string) => `for (var row = sharer; row < ${DOWN * rows}u; row += ${sharers}u) {
    let four = four_at(row * ${stride}u + column / 2u);
    ${body}
  }`;
  const store = (i: number, j: number) => `
  workgroupBarrier();
  ${stage(i, j)}
  workgroupBarrier();
  ${keep && i === 0 ? "first = four_at(column / 2u);" : ""}
  ${each(`store(firstRow + row / ${rows}u * ${PART}u + ${i * rows}u + row % ${rows}u, ${columnOf(j)}, four);
    ${keep ? "{ let d = four - first; sum += d; square += d * d; }" : ""}`)}`;
  const together = (j: number) => `
  workgroupBarrier();
  // The strip is stored: its room takes the threads' sums.
  put_four(local * 4u, sum);
  put_four(local * 4u + 2u, square);
  workgroupBarrier();
  if (sharer == 0u) {
    for (var other = 1u; other < ${sharers}u; other++) {
      sum += four_at((local + other * ${fours}u) * 4u);
      square += four_at((local + other * ${fours}u) * 4u + 2u);
    }
    keep(group.y, ${columnOf(j)}, first, sum, square);
  }
  sum = vec4f();
  square = vec4f();`;
  const strip = (j: number) =>
    count(PART / rows)
      .map((i) => store(i, j))
      .join("") + (keep ? together(j) : "");
  return `let column = local % ${fours}u * 4u;
  let sharer = local / ${fours}u;
  ${keep ? "var first = vec4f(); var sum = vec4f(); var square = vec4f();" : ""}
  ${count(width / STRIP)
    .map(strip)
    .join("")}`;
}

/** The tile with few k's at a time: what emulates matrices is short of memory, and slow to compile. */
const shallow = (tile: MatrixTile): MatrixTile => ({ ...tile, deep: 8 });

/** The entry point. `groups` of a launch: columns, rows, slices. */
export function matrixProductCode(product: Product, of: MatrixTile, config: MatrixConfig, emulated = false): string {
  const tile = emulated ? shallow(of) : of;
  const threads = matrixThreads(tile, config);
  const { across, deep } = tile;
  const left = { ...product.a, ...slabOf(product.a, tile.rows, deep) };
  const right = { ...product.b, ...slabOf(product.b, tile.columns, deep, left.rows * left.stride) };
  const layout: Layout = { ...config, tile, threads, a: left, b: right, width: tile.columns / across };
  const { lanes, width } = layout;
  const { sums, multiply, stage, functions = "" } = emulated ? emulating(layout) : onCores(layout);
  const a = fetcher("a", left, { outer: tile.rows, deep, threads });
  const b = fetcher("b", right, { outer: tile.columns, deep, threads });
  return `
${product.a.code}
${product.b.code}
${product.store}
${product.keep ?? ""}
var<private> slice: u32;
${product.range}
var<workgroup> pool_: array<vec2u, ${poolOf(tile, config)}>;
fn four_at(i: u32) -> vec4f { return bitcast<vec4f>(vec4u(pool_[i], pool_[i + 1u])); }
fn put_four(i: u32, v: vec4f) { let four = bitcast<vec4u>(v); pool_[i] = four.xy; pool_[i + 1u] = four.zw; }
${functions}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  slice = group.z;
  ${product.prepare ?? ""}
  let firstRow = group.y * ${tile.rows}u;
  let firstColumn = group.x * ${tile.columns}u;
  let subgroup = local / ${lanes}u;
  let lane = local % ${lanes}u;
  let partRow = subgroup / ${across}u * ${PART}u;
  let partColumn = subgroup % ${across}u * ${width}u;
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
  ${leave(product.keep !== undefined, layout, stage)}
}`;
}

/** The first configuration that some tile is made of, of those that a device offers; undefined: none. */
export const matrixConfigOf = (device: GPUDevice, info: GPUAdapterInfo): MatrixConfig | undefined =>
  matrixConfigsOf(device, info).find((config) => matrixTilesOn(device.limits, config).length > 0);

/** The tiles that a device has room for. */
export const matrixTilesOn = (
  limits: Pick<GPUSupportedLimits, "maxComputeWorkgroupStorageSize" | "maxComputeInvocationsPerWorkgroup">,
  config: MatrixConfig,
  emulated = false,
): MatrixTile[] =>
  matrixTiles.filter(
    (tile) =>
      fitsTile(tile, config) &&
      matrixThreads(tile, config) <= limits.maxComputeInvocationsPerWorkgroup &&
      matrixShared(emulated ? shallow(tile) : tile, config) <= limits.maxComputeWorkgroupStorageSize,
  );
