import * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, reads, webgpu } from "../../backend/webgpu.ts";
import { registerOn, type Tensors } from "../register.ts";
import { access, join, widthOf } from "../webgpu/access.ts";
import { halfWanted } from "../webgpu/precision.ts";
import { SCALE_ROWS } from "./index.ts";

export function registerScaleRowsWebgpu(): void {
  registerOn("webgpu")(SCALE_ROWS, ({ x, factors }: Tensors<"x" | "factors">) => {
    const y = webgpu().allocate(x.shape, "float32", halfWanted(x.shape));
    const size = tf.util.sizeFromShape(x.shape);
    const row = size / (x.shape[0] as number);
    const width = widthOf(row);
    const { bind, code } = join({ x: access(width, "x", x), y: access(width, "y", y, true) });
    launch({
      name: "scale rows",
      numbers: { ALL: size / width, ROW: row / width },
      bind: { ...bind, factors: reads(factors) },
      code: code + lineKernel("u32(ALL)", 256, "y_set(i, x_at(i) * factors[i / u32(ROW)]);"),
      groups: folded(size / width, 256),
    });
    return y;
  });
}
