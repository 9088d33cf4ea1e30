/** Each row of a batch times its own number, f32[N,...] and f32[N]: stochastic depth's branches, kept or dropped. */
import * as tf from "@tensorflow/tfjs-core";
import { expectShape } from "../../util/errors.ts";

export const SCALE_ROWS = "MocodScaleRows";

tf.registerGradient({
  kernelName: SCALE_ROWS,
  inputsToSave: ["factors"],
  gradFunc: (dy, saved) => ({ x: () => scaleRows(dy as tf.Tensor, saved[0] as tf.Tensor) }),
});

/** @throws where there is not one factor for each row. */
export function scaleRows(x: tf.Tensor, factors: tf.Tensor): tf.Tensor {
  expectShape("scale rows: factors", factors.shape, [x.shape[0] as number]);
  return tf.engine().runKernel(SCALE_ROWS, { x, factors }) as tf.Tensor;
}
