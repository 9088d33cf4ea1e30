import * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, webgpu } from "../../backend/webgpu.ts";
import { registerOn, type Tensors } from "../register.ts";
import { access, join, singles, widthOf } from "../webgpu/access.ts";
import { halfWanted } from "../webgpu/precision.ts";
import { PATCHES, type PatchesAttrs, patchesShape } from "./index.ts";

function patches(x: tf.TensorInfo, side: number): tf.TensorInfo {
  const shape = patchesShape(x, side);
  const [, h, w, c] = x.shape as [number, number, number, number];
  const width = widthOf(shape[2]);
  const y = webgpu().allocate(shape, "float32", halfWanted(shape));
  const all = tf.util.sizeFromShape(shape) / width;
  const { bind, code } = join({ x: singles("x", x), y: access(width, "y", y, true) });
  launch({
    name: "patches",
    numbers: { ALL: all, SIDE: side, LINE: side * c, CHANNELS: c, ROW: w * c, ACROSS: w / side, DOWN: h / side },
    bind,
    code: `${code}
// The pixel value that is element \`i\` of the patches.
fn from_patch(i: u32) -> f32 {
  let inside = i % u32(LINE * SIDE);
  let square = i / u32(LINE * SIDE);
  let line = square / u32(ACROSS) % u32(DOWN) * u32(SIDE) + inside / u32(LINE);
  let image = square / u32(ACROSS * DOWN);
  return x_at((image * u32(DOWN * SIDE) + line) * u32(ROW) + square % u32(ACROSS) * u32(LINE) + inside % u32(LINE));
}
${lineKernel(
  "u32(ALL)",
  256,
  width === 4
    ? "y_set(i, vec4f(from_patch(4u * i), from_patch(4u * i + 1u), from_patch(4u * i + 2u), from_patch(4u * i + 3u)));"
    : "y_set(i, from_patch(i));",
)}`,
    groups: folded(all, 256),
  });
  return y;
}

export function registerPatchesWebgpu(): void {
  registerOn("webgpu")(PATCHES, ({ x }: Tensors<"x">, attrs: PatchesAttrs) => patches(x, attrs.side));
}
