import type * as tf from "@tensorflow/tfjs-core";

export const AUGMENT = "MocodAugment";

export interface AugmentInputs {
  /** Bytes, four in each i32, least first. */
  readonly pixels: tf.TensorInfo;
  /** i32[images, 3]: byte offset, height, width. */
  readonly places: tf.TensorInfo;
  /** i32[views]: which image each view is of. */
  readonly sources: tf.TensorInfo;
  /** f32[views, ROW] */
  readonly rows: tf.TensorInfo;
}

export interface AugmentAttrs {
  readonly size: number;
  readonly channels: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}
