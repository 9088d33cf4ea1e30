/** WGSL that attention's kernels for tensor cores share: how rows are fetched, blocks gone through, and sums stored. */
import {
  BLOCK,
  count,
  headRow,
  LANES,
  OWN,
  PART,
  type RowProducts,
  SCORE_ROW,
  SCORES,
  THREADS,
} from "./cores_products.ts";

/** Rows of a head, of tokens from `first` on; of those that are no tokens there are none, and 0 stands for them. */
interface Rows {
  readonly from: string;
  /** WGSL: where the row of `token` begins, in float16. */
  readonly at: string;
}

/** WGSL: the workgroup's own rows, into `to`. */
export const fetchOwn = (to: string, { from, at }: Rows, d: number): string => `
  for (var i = local; i < ${(OWN * d) / 8}u; i += ${THREADS}u) {
    let token = ownFirst + i / ${d / 8}u;
    var eight = vec4u();
    if (token < u32(TOKENS)) { eight = ${from}[${at} / 8u + i % ${d / 8}u]; }
    ${to}[i / ${d / 8}u * ${headRow(d)}u + i % ${d / 8}u] = eight;
  }`;

/** A block's rows on their way into `to`, in registers: the next one is fetched while the present one is computed with. */
export function prefetch(to: string, { from, at }: Rows, d: number): Prefetch {
  const eights = (BLOCK * d) / 8;
  const rounds = count(Math.ceil(eights / THREADS)).map((round) => {
    const i = `(local + ${round * THREADS}u)`;
    const guard = (line: string) => ((round + 1) * THREADS <= eights ? line : `if (${i} < ${eights}u) { ${line} }`);
    return {
      declare: `var ${to}${round} = vec4u();`,
      fetch: `{
      let token = next + ${i} / ${d / 8}u;
      ${to}${round} = vec4u();
      if (token < u32(TOKENS)) { ${to}${round} = ${from}[${at} / 8u + ${i} % ${d / 8}u]; }
    }`,
      put: guard(`${to}[${i} / ${d / 8}u * ${headRow(d)}u + ${i} % ${d / 8}u] = ${to}${round};`),
    };
  });
  const join = (of: keyof Prefetch) => rounds.map((round) => round[of]).join("\n    ");
  return { declare: join("declare"), fetch: join("fetch"), put: join("put") };
}

/** WGSL. `fetch` is of the block that begins at `next`. */
export interface Prefetch {
  readonly declare: string;
  readonly fetch: string;
  readonly put: string;
}

/** Queries, keys, values and the gradient of what they attend to. */
export const [QUERIES, KEYS, VALUES] = ([0, 1, 2] as const).map(
  (part): Rows => ({ from: "qkv", at: `part_of(image, token, ${part}u, head)` }),
) as [Rows, Rows, Rows];
export const SLOPES: Rows = { from: "dout", at: "out_of(image, token, head)" };

/** WGSL: a lane's 16 of a row of scores, four at a time; `at` is the place of the first of them in the block. */
export const eachFour = (each: (i: number) => string) =>
  count(4)
    .map((i) => `{ let at = side * 16u + ${4 * i}u; ${each(i)} }`)
    .join("\n      ");
export const fourOf = (scores: string, i: number) =>
  `bitcast<vec4f>(${scores}[row * ${SCORE_ROW}u + side * 4u + ${i}u])`;
/** WGSL: declares a lane's 16 values. */
export const fours = (name: string) =>
  `var ${count(4)
    .map((i) => `${name}${i}: vec4f;`)
    .join(" var ")}`;
/** WGSL: of four scores, exponentials whose argument is moved by `shift`; at most 1, which they are anyway where there is a token. */
export const probabilities = (shift: string, i: number) =>
  `exp2(min(fma(${fourOf("scores_", i)}, vec4f(slope), vec4f(${shift})), vec4f()))`;
/** WGSL: puts a lane's 16 values where their scores were, as float16. */
export const putHalves = (scores: string, values: string) =>
  count(2)
    .map((i) => {
      const halves = [2 * i, 2 * i + 1].flatMap((v) =>
        ["xy", "zw"].map((two) => `pack2x16float(${values}${v}.${two})`),
      );
      return `${scores}[row * ${SCORE_ROW}u + side * 4u + ${i}u] = vec4u(${halves.join(", ")});`;
    })
    .join("\n      ");

/** WGSL: the sums leave, times `scale`, to where `at` says that the row of token `own` begins. */
export const leave = (m: RowProducts, sums: string, d: number, to: string, at: string, scale: string): string =>
  count(Math.ceil(d / BLOCK))
    .map(
      (j) => `
  workgroupBarrier();
  ${m.stage(sums, j, "scores_")}
  workgroupBarrier();
  if (own < u32(TOKENS)) {
    ${eachFour(
      (i) => `if (at < ${Math.min(BLOCK, d - j * BLOCK)}u) {
      let v = ${fourOf("scores_", i)} * ${scale};
      ${to}[(${at} + ${j * BLOCK}u + at) / 4u] = vec2u(pack2x16float(v.xy), pack2x16float(v.zw));
    }`,
    )}
  }`,
    )
    .join("");

export const code = (m: RowProducts, d: number, gradient: boolean, body: string): string => `
var<workgroup> own_: array<vec4u, ${OWN * headRow(d)}>;
${gradient ? `var<workgroup> other_: array<vec4u, ${OWN * headRow(d)}>;` : ""}
var<workgroup> firsts_: array<vec4u, ${BLOCK * headRow(d)}>;
var<workgroup> seconds_: array<vec4u, ${BLOCK * headRow(d)}>;
var<workgroup> scores_: array<vec4u, ${SCORES}>;
${gradient ? `var<workgroup> slopes_: array<vec4u, ${SCORES}>;` : ""}
var<workgroup> lanes_: array<vec2f, ${THREADS}>;
// Where the query (0), key (1) or value (2) of a token begins, and its output.
fn part_of(image: u32, token: u32, part: u32, head: u32) -> u32 {
  return (((image * u32(TOKENS) + token) * 3u + part) * u32(HEADS) + head) * ${d}u;
}
fn out_of(image: u32, token: u32, head: u32) -> u32 { return ((image * u32(TOKENS) + token) * u32(HEADS) + head) * ${d}u; }
fn stat_of(image: u32, token: u32, head: u32) -> u32 { return (image * u32(HEADS) + head) * u32(TOKENS) + token; }
fn are_tokens(first: u32) -> vec4<bool> { return vec4u(first) + vec4u(0u, 1u, 2u, 3u) < vec4u(u32(TOKENS)); }
${m.functions}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let head = group.y;
  let image = group.z;
  let ownFirst = group.x * ${OWN}u;
  let subgroup = local / ${LANES}u;
  let lane = local % ${LANES}u;
  // Of the lane's row of scores: its place in the workgroup and its token, and which half of its columns the lane has.
  let row = subgroup * ${PART}u + lane % ${PART}u;
  let side = lane / ${PART}u;
  let own = ownFirst + row;
  let busy = ownFirst + subgroup * ${PART}u < u32(TOKENS);
  ${body}
}`;

/** WGSL: blocks of tokens in turn, fetched ahead; the subgroups that have rows do one step after another, a barrier between. */
export const eachBlock = (fetches: readonly Prefetch[], ...steps: string[]): string => `{
  var next = 0u;
  ${fetches.map(({ declare }) => declare).join("\n  ")}
  ${fetches.map(({ fetch }) => fetch).join("\n  ")}
  for (var first = 0u; first < u32(TOKENS); first += ${BLOCK}u) {
    workgroupBarrier();
    ${fetches.map(({ put }) => put).join("\n    ")}
    workgroupBarrier();
    next = first + ${BLOCK}u;
    if (next < u32(TOKENS)) {
      ${fetches.map(({ fetch }) => fetch).join("\n      ")}
    }
    ${steps.map((step) => `if (busy) { ${step} }`).join("\n    workgroupBarrier();\n    ")}
  }
}`;
