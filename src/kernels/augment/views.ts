/** Views from tensors alone, on WebGPU: for a step that is recorded, and for browsers. */
import * as tf from "@tensorflow/tfjs-core";
import { AUGMENT, type AugmentAttrs, type AugmentInputs } from "./names.ts";

/** Views f32[views,S,S,C]. */
export function augmentViews(inputs: Readonly<Record<keyof AugmentInputs, tf.Tensor>>, attrs: AugmentAttrs): tf.Tensor {
  return tf.engine().runKernel(AUGMENT, { ...inputs }, attrs as unknown as tf.NamedAttrMap) as tf.Tensor;
}
