import * as tf from "@tensorflow/tfjs-core";
import { allocate, floatsOf } from "../../backend/wasm.ts";
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
  const register = (kernelName: string, run: (inputs: tf.NamedTensorInfoMap, shape: Sizes) => tf.TensorInfo) =>
    tf.registerKernel({
      kernelName,
      backendName: "wasm",
      kernelFunc: ({ inputs, attrs }) => run(inputs, (attrs as unknown as PlacesAttrs).shape as Sizes),
    });
  register(MEAN_PLACES, ({ x }, shape) => mean(x as tf.TensorInfo, shape));
  register(MEAN_PLACES_GRAD, ({ dy }, shape) => gradient(dy as tf.TensorInfo, shape));
}
