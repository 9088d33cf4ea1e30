/**
 * WGSL that the kernels of attention without tensor cores have in common: a thread has a token of its own in registers and goes
 * through the others, tiles of which its workgroup shares.
 */
import type * as tf from "@tensorflow/tfjs-core";
import { type Access, access, widthOf } from "../webgpu/access.ts";
import type { sizesOf } from "./index.ts";
import { type GpuMask, limits, type Range, THREADS } from "./mask.ts";

/** Bytes of two tiles: the least that every device has for a workgroup. */
const SHARED = 16_384;

export type Sizes = ReturnType<typeof sizesOf>;

/** Fours of a head. */
const foursOf = ({ d }: Sizes): number => Math.ceil(d / 4);
/** Rows of a tile. */
export const tileOf = (s: Sizes): number => Math.min(32, Math.floor((SHARED - 1024) / (2 * 16 * foursOf(s))));

export const numbersOf = ({ t, h, d }: Sizes) => ({ TOKENS: t, HEADS: h, DIM: d, scaleF: 1 / Math.sqrt(d) });

/** Reads or writes four values of a head at a time: `NAME_four(first, c)` of the head that begins at `first`, in floats. */
export function fours(name: string, tensor: tf.TensorInfo, d: number, written = false): Access {
  const width = widthOf(d);
  const own = access(width, name, tensor, written);
  const [get, set] =
    width === 4
      ? [`return ${name}_at(first / 4u + c);`, `${name}_set(first / 4u + c, v);`]
      : [
          `var v = vec4f();
  for (var i = 0u; i < min(4u, u32(DIM) - 4u * c); i++) { v[i] = ${name}_at(first + 4u * c + i); }
  return v;`,
          `for (var i = 0u; i < min(4u, u32(DIM) - 4u * c); i++) { ${name}_set(first + 4u * c + i, v[i]); }`,
        ];
  const code = `fn ${name}_four(first: u32, c: u32) -> vec4f { ${get} }
${written ? `fn ${name}_put(first: u32, c: u32, v: vec4f) { ${set} }` : ""}`;
  return { bound: own.bound, code: `${own.code}\n${code}` };
}

/** WGSL around `body`: `own` is the thread's token, `there` whether it is one; with a mask what `limits` finds. */
export const kernelCode = (s: Sizes, mask: GpuMask | undefined, body: string): string => `
const FOURS = ${foursOf(s)}u;
const TILE = ${tileOf(s)}u;
var<workgroup> firsts: array<vec4f, ${foursOf(s) * tileOf(s)}>;
var<workgroup> seconds: array<vec4f, ${foursOf(s) * tileOf(s)}>;
// Where the query (0), key (1) or value (2) of a token begins, and its output.
fn part_of(image: u32, token: u32, part: u32, head: u32) -> u32 {
  return (((image * u32(TOKENS) + token) * 3u + part) * u32(HEADS) + head) * u32(DIM);
}
fn out_of(image: u32, token: u32, head: u32) -> u32 {
  return ((image * u32(TOKENS) + token) * u32(HEADS) + head) * u32(DIM);
}
fn stat_of(image: u32, token: u32, head: u32) -> u32 { return (image * u32(HEADS) + head) * u32(TOKENS) + token; }
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let head = group.y;
  let image = group.z;
  let own = group.x * ${THREADS}u + local;
  let there = own < u32(TOKENS);${mask ? limits(mask) : ""}
  ${body}
}`;

/**
 * WGSL: the tiles of two parts of the tokens in `range` in turn; `each` is run for the token `first + j`, whose fours begin at
 * `row`.
 */
export const throughTiles = (
  { begin, end, ready, from, to }: Range,
  first: string,
  second: string,
  each: string,
  more = "",
): string => `
  for (var first = ${begin}; first < ${end}; first += TILE) {
    workgroupBarrier();
    for (var i = local; i < TILE * FOURS; i += ${THREADS}u) {
      let token = first + i / FOURS;
      let c = i % FOURS;
      if (token < u32(TOKENS)) {
        firsts[i] = ${first};
        seconds[i] = ${second};
      }
    }
    ${more}
    workgroupBarrier();
    if (${ready}) {
      for (var j = ${from}; j < ${to}; j++) {
        let row = j * FOURS;
        ${each}
      }
    }
  }`;

export const eachFour = (line: string): string => `for (var c = 0u; c < FOURS; c++) { ${line} }`;

export const groupsOf = ({ n, t, h }: Sizes): [number, number, number] => [Math.ceil(t / THREADS), h, n];
