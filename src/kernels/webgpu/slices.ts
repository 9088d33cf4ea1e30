/** Long sums cut into slices, which are added up in their order: the same bits every time. */
import type * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, reads, webgpu, writes } from "../../backend/webgpu.ts";
import { widthOf } from "./access.ts";

/** Terms of a slice, at the least: shorter ones cost more to add up than they gain. */
const SHORTEST = 512;
/** Workgroups to aim at, many times what any GPU runs at once. */
const WORKGROUPS = 1024;

/** How many slices the `inner` terms of a product's sums are cut into. Of the shape alone: a slice more would be other bits. */
export function slicesOf(rows: number, columns: number, inner: number): number {
  const tiles = Math.ceil(rows / 64) * Math.ceil(columns / 64);
  return Math.max(1, Math.min(Math.ceil(inner / SHORTEST), Math.round(WORKGROUPS / tiles)));
}

/** f32[slices, ...shape] -> f32[...shape] */
export function sumSlices(parts: tf.TensorInfo, shape: number[]): tf.TensorInfo {
  const slices = parts.shape[0] as number;
  const size = shape.reduce((a, b) => a * b, 1);
  const width = widthOf(size);
  const element = width === 4 ? "vec4f" : "f32";
  const sum = webgpu().allocate(shape);
  launch({
    name: "sum of slices",
    bind: { parts: reads(parts, element), sum: writes(sum, element) },
    code: lineKernel(
      size / width,
      64,
      `var s = parts[i];
  for (var slice = 1u; slice < ${slices}u; slice++) { s += parts[slice * ${size / width}u + i]; }
  sum[i] = s;`,
    ),
    groups: folded(size / width, 64),
  });
  return sum;
}
