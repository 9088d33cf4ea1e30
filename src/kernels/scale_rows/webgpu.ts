import * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, reads, webgpu } from "../../backend/webgpu.ts";
import { access, join } from "../webgpu/access.ts";
import { halfWanted } from "../webgpu/precision.ts";
import { SCALE_ROWS } from "./index.ts";

export function registerScaleRowsWebgpu(): void {
  tf.registerKernel({
    kernelName: SCALE_ROWS,
    backendName: "webgpu",
    kernelFunc: ({ inputs }) => {
      const { x, factors } = inputs as Record<string, tf.TensorInfo> as Record<"x" | "factors", tf.TensorInfo>;
      const y = webgpu().allocate(x.shape, "float32", halfWanted(x.shape));
      const size = tf.util.sizeFromShape(x.shape);
      const row = size / (x.shape[0] as number);
      const width: 1 | 4 = row % 4 === 0 ? 4 : 1;
      const { bind, code } = join({ x: access(width, "x", x), y: access(width, "y", y, true) });
      launch({
        name: "scale rows",
        numbers: { ALL: size / width, ROW: row / width },
        bind: { ...bind, factors: reads(factors) },
        code: code + lineKernel("u32(ALL)", 256, "y_set(i, x_at(i) * factors[i / u32(ROW)]);"),
        groups: folded(size / width, 256),
      });
      return y;
    },
  });
}
