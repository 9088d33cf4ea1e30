import type * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, webgpu } from "../../backend/webgpu.ts";
import { registerOn, type Tensors } from "../register.ts";
import { access, join, vectorOf, widthOf } from "../webgpu/access.ts";
import { halfWanted } from "../webgpu/precision.ts";
import { MEAN_PLACES, MEAN_PLACES_GRAD, type PlacesAttrs } from "./index.ts";

type Sizes = [n: number, h: number, w: number, c: number];

function mean(x: tf.TensorInfo, [n, h, w, c]: Sizes): tf.TensorInfo {
  const width = widthOf(c);
  const out = webgpu().allocate([n, c]);
  const { bind, code } = join({ x: access(width, "x", x), mean: access(width, "mean", out, true) });
  launch({
    name: "mean of places",
    bind,
    numbers: { VECTORS: c / width, PLACES: h * w, ALL: (n * c) / width },
    code:
      code +
      lineKernel(
        "u32(ALL)",
        64,
        `var sum = ${vectorOf(width)}();
  for (var place = 0u; place < u32(PLACES); place++) {
    sum += x_at((i / u32(VECTORS) * u32(PLACES) + place) * u32(VECTORS) + i % u32(VECTORS));
  }
  mean_set(i, sum / f32(PLACES));`,
      ),
    groups: folded((n * c) / width, 64),
  });
  return out;
}

function gradient(dy: tf.TensorInfo, shape: Sizes): tf.TensorInfo {
  const [n, h, w, c] = shape;
  const width = widthOf(c);
  const all = (n * h * w * c) / width;
  const dx = webgpu().allocate(shape, "float32", halfWanted(shape));
  const { bind, code } = join({ dy: access(width, "dy", dy), dx: access(width, "dx", dx, true) });
  launch({
    name: "mean of places gradient",
    bind,
    numbers: { VECTORS: c / width, PLACES: h * w, ALL: all },
    code:
      code +
      lineKernel(
        "u32(ALL)",
        256,
        `let image = i / u32(VECTORS) / u32(PLACES);
  dx_set(i, dy_at(image * u32(VECTORS) + i % u32(VECTORS)) / f32(PLACES));`,
      ),
    groups: folded(all, 256),
  });
  return dx;
}

export function registerMeanPlacesWebgpu(): void {
  const register = registerOn("webgpu");
  register(MEAN_PLACES, ({ x }: Tensors<"x">, { shape }: PlacesAttrs) => mean(x, shape as Sizes));
  register(MEAN_PLACES_GRAD, ({ dy }: Tensors<"dy">, { shape }: PlacesAttrs) => gradient(dy, shape as Sizes));
}
