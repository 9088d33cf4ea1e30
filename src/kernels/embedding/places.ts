/**
 * The places of each token in their order, on a GPU: a stable sort without atomics. A place's rank is the number of places that
 * come before it, counted by a thread of its own: P^2 comparisons for P places, 0.4e9 for 20,000, and no passes that wait for
 * one another.
 */
import * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, reads, webgpu, writes } from "../../backend/webgpu.ts";

const THREADS = 64;
/** Tokens that a workgroup reads at a time: four a thread. */
const TILE = 4 * THREADS;

export interface Places {
  /** i32[P]: places by token, those of one token in their order. */
  readonly order: tf.TensorInfo;
  /** i32[P]: the token at each of them; V where it is no row of the table. */
  readonly sorted: tf.TensorInfo;
  /** i32[V + 1]: where a token's places begin in `order`; they end where the next one's begin. */
  readonly starts: tf.TensorInfo;
}

/** tokens i32[N,T]. The caller disposes of the result. */
export function placesByToken(tokens: tf.TensorInfo, vocabulary: number): Places {
  const places = tf.util.sizeFromShape(tokens.shape);
  const integers = (length: number) => webgpu().allocate([length], "int32");
  const [order, sorted, starts] = [integers(places), integers(places), integers(vocabulary + 1)];
  launch({
    name: "token places: sort",
    numbers: { PLACES: places, VOCABULARY: vocabulary },
    bind: { tokens: reads(tokens, "i32"), order: writes(order, "u32"), sorted: writes(sorted, "u32") },
    code: `
var<workgroup> others: array<vec4u, ${THREADS}>;
// Negative ones are large numbers here. Beyond the last place are tokens that come before no other.
fn token_at(place: u32) -> u32 {
  if (place >= u32(PLACES)) { return 0xffffffffu; }
  return min(u32(tokens[place]), u32(VOCABULARY));
}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let tile = group.x * ${THREADS}u / ${TILE}u * ${TILE}u;
  let place = group.x * ${THREADS}u + local;
  let own = token_at(place);
  var smaller = vec4u();
  var rank = 0u;
  for (var first = 0u; first < u32(PLACES); first += ${TILE}u) {
    workgroupBarrier();
    let at = first + 4u * local;
    others[local] = vec4u(token_at(at), token_at(at + 1u), token_at(at + 2u), token_at(at + 3u));
    workgroupBarrier();
    // The same token comes before where its place does: in all of an earlier tile, and in a part of the own one.
    let limit = vec4u(min(own, u32(VOCABULARY)) + u32(first < tile));
    for (var i = 0u; i < ${THREADS}u; i++) { smaller += vec4u(others[i] < limit); }
    if (first == tile) {
      for (var i = 0u; i < place - tile; i++) { rank += u32(others[i / 4u][i % 4u] == own); }
    }
  }
  rank += smaller.x + smaller.y + smaller.z + smaller.w;
  if (place < u32(PLACES)) { order[rank] = place; sorted[rank] = own; }
}`,
    groups: [Math.ceil(places / THREADS)],
  });
  launch({
    name: "token places: starts",
    numbers: { PLACES: places, VOCABULARY: vocabulary },
    bind: { sorted: reads(sorted, "u32"), starts: writes(starts, "u32") },
    code: lineKernel(
      "u32(VOCABULARY) + 1u",
      THREADS,
      `var low = 0u;
  var high = u32(PLACES);
  while (low < high) {
    let middle = (low + high) / 2u;
    if (sorted[middle] < i) { low = middle + 1u; } else { high = middle; }
  }
  starts[i] = low;`,
    ),
    groups: folded(vocabulary + 1, THREADS),
  });
  return { order, sorted, starts };
}
