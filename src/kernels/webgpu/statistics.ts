/**
 * Sums for batch norm that a convolution takes of its output while it is in registers, which saves reading it once more. Of
 * each block of rows and each channel: a row's value, and the sums of what is left without it and of its squares.
 */
import type * as tf from "@tensorflow/tfjs-core";
import { launch, reads, webgpu, writes } from "../../backend/webgpu.ts";

/** By the output's data. */
const taken = new WeakMap<object, Statistics>();

export interface Statistics {
  /** f32[rows of the output / block, 3, C] */
  readonly parts: tf.TensorInfo;
  /** Rows of a block. */
  readonly block: number;
}

/** While `use` runs convolutions take sums for a batch norm of so many groups. */
export const withStatistics = <T>(groups: number, use: () => T): T =>
  webgpu().within({ statisticsGroups: groups }, use);

/** Room for the sums of a convolution's output, where they are wanted and no block lies in two groups. */
export function statisticsFor(y: tf.TensorInfo, block: number): Statistics | undefined {
  const channels = y.shape.at(-1) as number;
  const rows = y.shape.slice(0, -1).reduce((a, b) => a * b, 1);
  const groups = webgpu().launchContext.statisticsGroups;
  if (groups === 0 || rows % (groups * block) !== 0 || channels % 4 !== 0) return undefined;
  const statistics = { parts: webgpu().allocate([rows / block, 3, channels]), block };
  taken.set(y.dataId, statistics);
  return statistics;
}

/** The sums that were taken of a tensor, once. */
export function takeStatistics(x: tf.TensorInfo): Statistics | undefined {
  const statistics = taken.get(x.dataId);
  taken.delete(x.dataId);
  return statistics;
}

/** f32[groups, C] of each from the sums, which are freed. Sixteen threads share a channel's blocks. */
export function momentsOf(
  { parts, block }: Statistics,
  of: number,
  [mean, variance]: readonly [tf.TensorInfo, tf.TensorInfo],
): void {
  const [blocks, , channels] = parts.shape as [number, number, number];
  launch({
    name: "batch norm: moments",
    numbers: { VECTORS: channels / 4, BLOCKS: blocks / of, ROWS: (blocks / of) * block, BLOCK: block },
    bind: { parts: reads(parts, "vec4f"), mean: writes(mean, "vec4f"), variance: writes(variance, "vec4f") },
    code: `
var<workgroup> sums: array<vec4f, 256>;
var<workgroup> squares: array<vec4f, 256>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let c = id.x * 16u + local % 16u;
  let lane = local / 16u;
  let vectors = u32(VECTORS);
  let n = f32(BLOCK);
  var origin = vec4f();
  var sum = vec4f();
  var square = vec4f();
  if (c < vectors) {
    origin = parts[id.y * u32(BLOCKS) * 3u * vectors + c];
    for (var i = lane; i < u32(BLOCKS); i += 16u) {
      let at = (id.y * u32(BLOCKS) + i) * 3u * vectors + c;
      let off = parts[at] - origin;
      let s = parts[at + vectors];
      sum += s + n * off;
      square += parts[at + 2u * vectors] + 2.0 * off * s + n * off * off;
    }
  }
  sums[local] = sum;
  squares[local] = square;
  for (var half = 128u; half >= 16u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { sums[local] += sums[local + half]; squares[local] += squares[local + half]; }
  }
  if (lane > 0u || c >= vectors) { return; }
  let by = sums[local] / f32(ROWS);
  mean[id.y * vectors + c] = origin + by;
  variance[id.y * vectors + c] = max(squares[local] / f32(ROWS) - by * by, vec4f());
}`,
    groups: [Math.ceil(channels / 64), of],
  });
  webgpu().disposeData(parts.dataId);
}
