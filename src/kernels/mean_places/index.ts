/**
 * Mean over the places of an image, f32[N,H,W,C] -> f32[N,C]: the last step of a ResNet's backbone. tfjs's own mean takes a
 * tensor of ones as large as the image for its gradient.
 */
import * as tf from "@tensorflow/tfjs-core";
import { expectShape } from "../../util/errors.ts";

export const MEAN_PLACES = "MocodMeanPlaces";
export const MEAN_PLACES_GRAD = "MocodMeanPlacesGrad";

export interface PlacesAttrs {
  /** [N,H,W,C] of the images. */
  shape: number[];
}

tf.registerGradient({
  kernelName: MEAN_PLACES,
  gradFunc: (dy, _, attrs) => ({
    x: () => tf.engine().runKernel(MEAN_PLACES_GRAD, { dy: dy as tf.Tensor }, attrs) as tf.Tensor,
  }),
});

/** x f32[N,H,W,C] -> f32[N,C]. @throws where x has another number of axes. */
export function meanPlaces(x: tf.Tensor): tf.Tensor {
  expectShape("global average pooling", x.shape, [-1, -1, -1, -1]);
  const attrs: PlacesAttrs = { shape: x.shape };
  return tf.engine().runKernel(MEAN_PLACES, { x }, attrs as unknown as tf.NamedAttrMap) as tf.Tensor;
}
