/** Adds up what was computed in slices, in their order: the same bits every time. */
import type * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, reads, webgpu, writes } from "../../backend/webgpu.ts";
import { widthOf } from "./access.ts";

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
