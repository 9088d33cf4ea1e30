import * as tf from "@tensorflow/tfjs-core";
import { allocate, floatsOf } from "../../backend/wasm.ts";
import { SCALE_ROWS } from "./index.ts";

export function registerScaleRowsWasm(): void {
  tf.registerKernel({
    kernelName: SCALE_ROWS,
    backendName: "wasm",
    kernelFunc: ({ inputs }) => {
      const { x, factors } = inputs as Record<string, tf.TensorInfo> as Record<"x" | "factors", tf.TensorInfo>;
      const y = allocate(x.shape);
      const [from, by, to] = [floatsOf(x), floatsOf(factors), floatsOf(y)];
      const size = from.length / by.length;
      by.forEach((factor, row) => {
        for (let i = row * size; i < (row + 1) * size; i++) to[i] = factor * (from[i] as number);
      });
      return y;
    },
  });
}
