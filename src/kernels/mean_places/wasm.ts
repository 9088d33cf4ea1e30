import type * as tf from "@tensorflow/tfjs-core";
import { allocate, floatsOf } from "../../backend/wasm.ts";
import { registerOn, type Tensors } from "../register.ts";
import { MEAN_PLACES, MEAN_PLACES_GRAD, type PlacesAttrs } from "./index.ts";

type Sizes = [n: number, h: number, w: number, c: number];

/** In JavaScript: a thousandth of a step. */
function mean(x: tf.TensorInfo, [n, h, w, c]: Sizes): tf.TensorInfo {
  const out = allocate([n, c]);
  const [from, to] = [floatsOf(x), floatsOf(out)];
  const places = h * w;
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < c; k++) {
      let sum = 0;
      for (let at = i * places * c + k; at < (i + 1) * places * c; at += c) sum += from[at] as number;
      to[i * c + k] = sum / places;
    }
  }
  return out;
}

function gradient(dy: tf.TensorInfo, [n, h, w, c]: Sizes): tf.TensorInfo {
  const dx = allocate([n, h, w, c]);
  const [from, to] = [floatsOf(dy), floatsOf(dx)];
  for (let i = 0; i < n; i++) {
    const row = from.subarray(i * c, (i + 1) * c).map((v) => v / (h * w));
    for (let place = 0; place < h * w; place++) to.set(row, (i * h * w + place) * c);
  }
  return dx;
}

export function registerMeanPlacesWasm(): void {
  const register = registerOn("wasm");
  register(MEAN_PLACES, ({ x }: Tensors<"x">, { shape }: PlacesAttrs) => mean(x, shape as Sizes));
  register(MEAN_PLACES_GRAD, ({ dy }: Tensors<"dy">, { shape }: PlacesAttrs) => gradient(dy, shape as Sizes));
}
