import * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, webgpu } from "../../backend/webgpu.ts";
import { join, quads } from "./access.ts";

/** Runs `use`; `half`: with activations and their gradients kept as float16. Sums are float32 either way, and so are parameters. */
export const inHalf = <T>(half: boolean, use: () => T): T => webgpu().within({ half }, use);

export const halfMode = (): boolean => webgpu().launchContext.half;

/** Whether a tensor of this shape is to be float16: activations [N,H,W,C] and [N,T,C], channels in fours, as they are read. */
export const halfWanted = (shape: readonly number[]): boolean =>
  halfMode() && shape.length >= 3 && (shape.at(-1) as number) % 4 === 0;

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
