/** Max pooling f32[N,H,W,C] -> f32[N,OH,OW,C] with symmetric padding, as torch.nn.MaxPool2d (first maximum wins). */
import * as tf from "@tensorflow/tfjs-core";
import { expectShape } from "../../util/errors.ts";

export const MAX_POOL = "MocodMaxPool";
export const MAX_POOL_GRAD = "MocodMaxPoolGrad";

export interface PoolAttrs {
  size: number;
  stride: number;
  pad: number;
  inputShape: number[];
}

tf.registerGradient({
  kernelName: MAX_POOL,
  inputsToSave: [],
  outputsToSave: [false, true],
  gradFunc: (dys, saved, attrs) => ({
    x: () =>
      tf
        .engine()
        .runKernel(
          MAX_POOL_GRAD,
          { dy: (dys as tf.Tensor[])[0], argmax: saved[0] } as tf.NamedTensorMap,
          attrs,
        ) as tf.Tensor,
  }),
});

/** x f32[N,H,W,C] -> f32[N,OH,OW,C]. @throws where x has another number of axes. */
export function maxPool(x: tf.Tensor, size: number, stride: number, pad: number): tf.Tensor {
  expectShape("max pool", x.shape, [-1, -1, -1, -1]);
  const attrs: PoolAttrs = { size, stride, pad, inputShape: x.shape };
  const [y] = tf.engine().runKernel(MAX_POOL, { x }, attrs as unknown as tf.NamedAttrMap) as tf.Tensor[];
  return y as tf.Tensor;
}
