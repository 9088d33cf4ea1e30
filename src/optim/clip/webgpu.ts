/** Clipping on WebGPU: the squares of a gradient by tensor, and the factor. */
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

/** Workgroups that share a tensor: the longest of a ViT has a hundredth of all values. */
const SHARES = 64;

/** f32[T]: the sum of squares of each tensor of a flat gradient. */
export function launchSquares(gradient: tf.Tensor, { table }: Segments): tf.Tensor {
  const count = table.shape[0] as number;
  const parts = webgpu().allocate([count, SHARES]);
  const squares = webgpu().allocate([count]);
  launch({
    name: "squares of the gradient",
    bind: { gradient: reads(gradient), table: reads(table, "i32"), parts: writes(parts) },
    code: `
var<workgroup> sums: array<f32, ${THREADS}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let begin = u32(table[group.y * 3u]);
  let end = begin + u32(table[group.y * 3u + 1u]);
  var own = 0.0;
  for (var i = begin + group.x * ${THREADS}u + local; i < end; i += ${THREADS * SHARES}u) { own += gradient[i] * gradient[i]; }
  ${summed("own")}
  if (local == 0u) { parts[group.y * ${SHARES}u + group.x] = sums[0]; }
}`,
    groups: [SHARES, count],
  });
  launch({
    name: "squares of the gradient: sums",
    bind: { parts: reads(parts), squares: writes(squares) },
    code: `
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3u) {
  var sum = 0.0;
  for (var share = 0u; share < ${SHARES}u; share++) { sum += parts[group.x * ${SHARES}u + share]; }
  squares[group.x] = sum;
}`,
    groups: [count],
  });
  webgpu().disposeData(parts.dataId);
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
