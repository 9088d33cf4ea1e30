import * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, webgpu } from "../../backend/webgpu.ts";
import { join, quads } from "./access.ts";

/** Whether activations and their gradients are kept as float16. Sums are float32 either way, and so are parameters. */
let half = false;

/** Runs `use` with activations in float16. */
export function inHalf<T>(wanted: boolean, use: () => T): T {
  const before = half;
  half = wanted;
  try {
    return use();
  } finally {
    half = before;
  }
}

export const halfMode = (): boolean => half;

/** Whether a tensor of this shape is to be float16: activations [N,H,W,C] only, channels in fours, as they are read. */
export const halfWanted = (shape: readonly number[]): boolean =>
  half && shape.length === 4 && (shape.at(-1) as number) % 4 === 0;

/** A float32 copy of a tensor, which may be float16: what leaves the device has to be. */
export function toFloat32(x: tf.Tensor): tf.Tensor {
  const copy = webgpu().allocate(x.shape);
  const { bind, code } = join({ x: quads("x", x), copy: quads("copy", copy, true) });
  const fours = x.size / 4;
  launch({
    name: "to float32",
    bind,
    code: code + lineKernel(fours, 256, "copy_set(i, x_at(i));"),
    groups: folded(fours, 256),
  });
  return tf.engine().makeTensorFromTensorInfo(copy);
}
