/** `index.ts` on the flat buffer of the device. */
import type * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, writes } from "../../backend/webgpu.ts";

/** A tensor in the flat buffer, in floats. */
export interface Limits {
  readonly first: number;
  readonly size: number;
  readonly range: readonly [low: number, high: number];
}

export function launchClamp(params: tf.Tensor, limits: readonly Limits[]): void {
  for (const { first, size, range } of limits) {
    const [lowF, highF] = range;
    launch({
      name: "clamp",
      numbers: { first, size, lowF, highF },
      bind: { params: writes(params) },
      code: lineKernel("its.size", 64, "params[its.first + i] = clamp(params[its.first + i], its.lowF, its.highF);"),
      groups: folded(size, 64),
    });
  }
}
