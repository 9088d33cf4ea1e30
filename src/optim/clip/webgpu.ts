import * as tf from "@tensorflow/tfjs-core";
import { launch, reads, webgpu, writes } from "../../backend/webgpu.ts";
import type { Segments } from "../flat.ts";
import { CLIP_EPSILON } from "./index.ts";

const THREADS = 256;

/** WGSL: `sums[0]` is the sum over the threads of `own`. */
const summed = (own: string): string => `
  sums[local] = ${own};
  for (var half = ${THREADS / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { sums[local] += sums[local + half]; }
  }`;

/** f32[T]: the sum of squares of each tensor of a flat gradient. A workgroup adds up one tensor. */
export function launchSquares(gradient: tf.Tensor, { table }: Segments): tf.Tensor {
  const count = table.shape[0] as number;
  const squares = webgpu().allocate([count]);
  launch({
    name: "squares of the gradient",
    bind: { gradient: reads(gradient), table: reads(table, "i32"), squares: writes(squares) },
    code: `
var<workgroup> sums: array<f32, ${THREADS}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let begin = u32(table[group.x * 3u]);
  let end = begin + u32(table[group.x * 3u + 1u]);
  var own = 0.0;
  for (var i = begin + local; i < end; i += ${THREADS}u) { own += gradient[i] * gradient[i]; }
  ${summed("own")}
  if (local == 0u) { squares[group.x] = sums[0]; }
}`,
    groups: [count],
  });
  return tf.engine().makeTensorFromTensorInfo(squares);
}

/** f32[1]: the factor of `clipFactor`. `squares` f32[T] */
export function launchClip(squares: tf.Tensor, clip: number): tf.Tensor {
  const factor = webgpu().allocate([1]);
  launch({
    name: "clip",
    numbers: { count: squares.size, clipF: clip },
    bind: { squares: reads(squares), clip_factor: writes(factor) },
    code: `
var<workgroup> sums: array<f32, ${THREADS}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) local: u32) {
  var own = 0.0;
  for (var i = local; i < its.count; i += ${THREADS}u) { own += squares[i]; }
  ${summed("own")}
  if (local == 0u) { clip_factor[0] = min(1.0, its.clipF / (sqrt(sums[0]) + ${CLIP_EPSILON})); }
}`,
    groups: [1],
  });
  return tf.engine().makeTensorFromTensorInfo(factor);
}
