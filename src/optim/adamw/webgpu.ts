import type * as tf from "@tensorflow/tfjs-core";
import { writes } from "../../backend/webgpu.ts";
import { type Flat, launchFlat, type UpdateSettings } from "../flat.ts";
import { EPSILON } from "./index.ts";

/** `adamw` of index.ts over all parameters. */
export function launchAdamw(flat: Flat, settings: UpdateSettings): void {
  launchFlat(
    "AdamW",
    flat,
    settings,
    `let m = its.momentumF * first[i] + (1.0 - its.momentumF) * g;
  let v = its.betaF * second[i] + (1.0 - its.betaF) * g * g;
  first[i] = m;
  second[i] = v;
  params[i] = p * (1.0 - lr * decay) - lr / scalars[1] * m / (sqrt(v) / scalars[2] + ${EPSILON});`,
    { second: writes(flat.second as tf.Tensor) },
  );
}
