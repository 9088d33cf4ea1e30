import { allocate, floatsOf } from "../../backend/wasm.ts";
import { registerOn, type Tensors } from "../register.ts";
import { SCALE_ROWS } from "./index.ts";

export function registerScaleRowsWasm(): void {
  registerOn("wasm")(SCALE_ROWS, ({ x, factors }: Tensors<"x" | "factors">) => {
    const y = allocate(x.shape);
    const [from, by, to] = [floatsOf(x), floatsOf(factors), floatsOf(y)];
    const size = from.length / by.length;
    by.forEach((factor, row) => {
      for (let i = row * size; i < (row + 1) * size; i++) to[i] = factor * (from[i] as number);
    });
    return y;
  });
}
