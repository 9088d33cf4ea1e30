/**
 * WGSL of a tiled matrix product, C[row, column] = sum over k of A(row, k) * B(k, column), of which convolutions in all
 * three passes are instances: they differ in how A and B are read and C is stored (implicit GEMM; Chetlur et al. 2014).
 *
 * A workgroup has one tile of C in its threads' registers. Slabs of A and B of `depth` k's go through shared memory; the
 * next ones are fetched into registers while the present ones are multiplied. Every sum runs over k in order, whatever
 * the tile: which tile is used changes the time, not the bits.
 */

export interface Operand {
  /** What four consecutive values run along: the operand's own index (row or column), or k. */
  readonly along: "outer" | "k";
  /** Values lie in fours; else they are looked up one by one, in a loop: slow, but short to compile. */
  readonly inFours: boolean;
  /**
   * WGSL: `fn P_outer(outer: u32) -> vec4i`, and `fn P_load(o: vec4i, k: u32) -> vec4f`, or `-> f32` where not in fours:
   * the values from there on, 0 where there are none. In fours also `fn P_load_halves(o: vec4i, k: u32) -> vec2u`, the same as
   * float16. P is a or b.
   */
  readonly code: string;
}

export interface Tile {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  /** Of one thread. */
  readonly threadRows: number;
  readonly threadColumns: number;
}

export interface Product {
  readonly a: Operand;
  readonly b: Operand;
  /** WGSL: `fn store(row: u32, column: u32, v: vec4f)`, which checks the bounds. */
  readonly store: string;
  /** WGSL: `fn range(z: u32) -> vec2u`, the k's of a workgroup, [from, to). The other functions find its z as `slice`. */
  readonly range: string;
  /** WGSL statements that set what the functions share, once `slice` is known. */
  readonly prepare?: string;
  /**
   * WGSL: `fn keep(block: u32, column: u32, first: vec4f, sum: vec4f, square: vec4f)`, called once for each block of
   * STATISTICS_ROWS rows of C and four columns: the block's first row, and the sums over its rows of what is left of them
   * without it and of the squares of that. Only with tiles that are such blocks (`tilesOfBlocks`).
   */
  readonly keep?: string;
}

/** k's that a kernel takes at a time, at the most: slices are made of whole ones, lest it reach into the next slice. */
export const SLAB = 64;

/** Rows of a block, of which sums are taken. */
export const STATISTICS_ROWS = 128;

export const threadsOf = (t: Tile): number => (t.rows / t.threadRows) * (t.columns / t.threadColumns);
/** Bytes of workgroup memory. */
export const sharedOf = (t: Tile): number => (t.rows + t.columns) * t.depth * 4;

const count = (n: number) => Array.from({ length: n }, (_, i) => i);

/** How the threads fetch one operand's slab, and put it into shared memory with the outer index innermost. */
function fetcher(
  p: "a" | "b",
  { along, inFours }: Operand,
  outer: number,
  depth: number,
  threads: number,
  rolled: boolean,
) {
  const first = p === "a" ? "firstRow" : "firstColumn";
  const width = outer / 4;
  // Along k a thread takes four by four values and turns them, so that shared memory is written in fours.
  const turned = along === "k" || !inFours;
  const blocks = turned ? width * (depth / 4) : width * depth;
  const rounds = count(Math.ceil(blocks / threads)).map((round) => {
    const at = `(local + ${round * threads}u)`;
    const guard = (lines: string[]) =>
      (round + 1) * threads <= blocks ? lines.join(" ") : `if (${at} < ${blocks}u) { ${lines.join(" ")} }`;
    if (!turned) {
      const [k, o, v] = [`${at} / ${width}u`, `${p}o${round}`, `${p}v${round}`];
      return {
        setUp: `let ${o} = ${p}_outer(${first} + ${at} % ${width}u * 4u); var ${v}: vec4f;`,
        fetch: guard([`${v} = ${p}_load(${o}, k + ${k});`]),
        put: guard([`${p}s_[${at}] = ${v};`]),
      };
    }
    const [k, o] = [`${at} % ${depth / 4}u * 4u`, `${at} / ${depth / 4}u`];
    const names = (what: string) => count(4).map((i) => `${p}${what}${round}_${i}`);
    const [outers, values] = [names("o"), names("v")];
    const put = guard(
      count(4).map((i) => {
        const four = values.map((v) => `${v}[${i}]`);
        return `${p}s_[(${k} + ${i}u) * ${width}u + ${o}] = vec4f(${four.join(", ")});`;
      }),
    );
    if (inFours && !rolled) {
      return {
        setUp: count(4)
          .map((i) => `let ${outers[i]} = ${p}_outer(${first} + ${o} * 4u + ${i}u); var ${values[i]}: vec4f;`)
          .join(" "),
        fetch: guard(count(4).map((i) => `${values[i]} = ${p}_load(${outers[i]}, k + ${k});`)),
        put,
      };
    }
    const block = `${p}m${round}`;
    return {
      setUp: `var ${block}: mat4x4f; ${values.map((v) => `var ${v}: vec4f;`).join(" ")}`,
      fetch: guard([
        inFours
          ? `for (var e = 0u; e < 4u; e++) { ${block}[e] = ${p}_load(${p}_outer(${first} + ${o} * 4u + e), k + ${k}); }`
          : `for (var e = 0u; e < 16u; e++) { ${block}[e / 4u][e % 4u] = ${p}_load(${p}_outer(${first} + ${o} * 4u + e / 4u), k + ${k} + e % 4u); }`,
        ...values.map((v, i) => `${v} = ${block}[${i}];`),
      ]),
      put,
    };
  });
  const part = (of: "setUp" | "fetch" | "put") => rounds.map((round) => round[of]);
  return { setUp: part("setUp"), fetch: part("fetch"), put: part("put") };
}

/**
 * The entry point. `groups` of a launch: columns, rows, slices. `rolled`: fetches and stores are loops, which is slower to run
 * and faster to compile; the sums are the same.
 */
export function productCode(product: Product, tile: Tile, rolled = false): string {
  const { rows, columns, depth, threadRows, threadColumns } = tile;
  const threads = threadsOf(tile);
  const across = columns / threadColumns;
  const [aFetch, bFetch] = [
    fetcher("a", product.a, rows, depth, threads, rolled),
    fetcher("b", product.b, columns, depth, threads, rolled),
  ];
  const [as, bs] = [count(threadRows / 4), count(threadColumns / 4)];
  // A thread's fours lie apart by the whole tile's width, so that neighbours read neighbouring banks.
  const rowOf = (i: number) => `ty + ${i * (rows / threadRows)}u`;
  const columnOf = (j: number) => `tx + ${j * across}u`;
  const sums = as.flatMap((i) => count(4).flatMap((r) => bs.map((j) => `c${4 * i + r}_${j}`)));
  const stores = as.flatMap((i) =>
    count(4).flatMap((r) =>
      bs.map(
        (j) => `store(firstRow + (${rowOf(i)}) * 4u + ${r}u, firstColumn + (${columnOf(j)}) * 4u, c${4 * i + r}_${j});`,
      ),
    ),
  );
  const loop = () => `var all = array<vec4f, ${sums.length}>(${sums.join(", ")});
  for (var e = 0u; e < ${sums.length}u; e++) {
    let r = e / ${bs.length}u;
    store(
      firstRow + (ty + r / 4u * ${rows / threadRows}u) * 4u + r % 4u, firstColumn + (tx + e % ${bs.length}u * ${across}u) * 4u, all[e],
    );
  }`;
  const keeping = bs
    .map(
      (j) => `
  if (ty == 0u) { as_[tx] = c0_${j}; }
  workgroupBarrier();
  let first${j} = as_[tx];
  workgroupBarrier();
  {
    var sum = vec4f();
    var square = vec4f();
    ${count(threadRows)
      .map((r) => `{ let d = c${r}_${j} - first${j}; sum += d; square += d * d; }`)
      .join(" ")}
    as_[local] = sum;
    bs_[local] = square;
  }
  for (var half = ${threads / across / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (ty < half) {
      as_[local] += as_[local + half * ${across}u];
      bs_[local] += bs_[local + half * ${across}u];
    }
  }
  if (ty == 0u) { keep(group.y, firstColumn + (${columnOf(j)}) * 4u, first${j}, as_[local], bs_[local]); }
  workgroupBarrier();`,
    )
    .join("");
  return `
${product.a.code}
${product.b.code}
${product.store}
${product.keep ?? ""}
var<private> slice: u32;
${product.range}
var<workgroup> as_: array<vec4f, ${(rows / 4) * depth}>;
var<workgroup> bs_: array<vec4f, ${(columns / 4) * depth}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  slice = group.z;
  ${product.prepare ?? ""}
  let firstRow = group.y * ${rows}u;
  let firstColumn = group.x * ${columns}u;
  let tx = local % ${across}u;
  let ty = local / ${across}u;
  let ks = range(group.z);
  ${[...aFetch.setUp, ...bFetch.setUp].join("\n  ")}
  ${sums.map((c) => `var ${c} = vec4f();`).join(" ")}
  // The slab of one round is fetched while that of the round before is multiplied.
  for (var k = ks.x; ; k += ${depth}u) {
    let more = k < ks.y;
    if (more) {
      ${[...aFetch.fetch, ...bFetch.fetch].join("\n      ")}
    }
    if (k > ks.x) {
      for (var d = 0u; d < ${depth}u; d++) {
        ${as.map((i) => `let a${i} = as_[d * ${rows / 4}u + ${rowOf(i)}];`).join(" ")}
        ${bs.map((j) => `let b${j} = bs_[d * ${columns / 4}u + ${columnOf(j)}];`).join(" ")}
        ${as
          .flatMap((i) =>
            count(4).flatMap((r) =>
              bs.map((j) => `c${4 * i + r}_${j} = fma(vec4f(a${i}[${r}]), b${j}, c${4 * i + r}_${j});`),
            ),
          )
          .join("\n        ")}
      }
    }
    if (!more) { break; }
    workgroupBarrier();
    ${[...aFetch.put, ...bFetch.put].join("\n    ")}
    workgroupBarrier();
  }
  ${rolled ? loop() : stores.join("\n  ")}
  ${product.keep ? `workgroupBarrier();${keeping}` : ""}
}`;
}

const square = (side: number, each: number, depth = 16): Tile => ({
  rows: side,
  columns: side,
  depth,
  threadRows: each,
  threadColumns: each,
});

/** Tiles to choose from, large ones first: more arithmetic for a byte of shared memory, but fewer workgroups. */
export const tiles: readonly Tile[] = [
  square(128, 8, 8),
  square(128, 8),
  { rows: 128, columns: 64, depth: 16, threadRows: 8, threadColumns: 8 },
  { rows: 128, columns: 64, depth: 16, threadRows: 8, threadColumns: 4 },
  square(64, 8),
  square(64, 4),
  square(32, 4),
  { rows: 128, columns: 16, depth: 16, threadRows: 4, threadColumns: 4 },
  { rows: 32, columns: 16, depth: 16, threadRows: 4, threadColumns: 4 },
];

/** Tiles that are one block high, and add its rows up in the same order. */
export const tilesOfBlocks: readonly Tile[] = tiles.filter((t) => t.rows === STATISTICS_ROWS && t.threadRows === 8);
