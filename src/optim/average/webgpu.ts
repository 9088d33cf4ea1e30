import type * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, reads, writes } from "../../backend/webgpu.ts";

/** `momentumUpdate` of index.ts over a flat buffer; q may be longer. m is that of follower `index` in the step's scalars. */
export function launchMomentum(k: tf.Tensor, q: tf.Tensor, scalars: tf.Tensor, index: number): void {
  launch({
    name: "momentum update",
    numbers: { size: k.size, at: 4 + 2 * index },
    bind: { k: writes(k), q: reads(q), scalars: reads(scalars) },
    code: lineKernel("its.size", 256, "k[i] = scalars[its.at] * k[i] + scalars[its.at + 1u] * q[i];"),
    groups: folded(k.size, 256),
  });
}
