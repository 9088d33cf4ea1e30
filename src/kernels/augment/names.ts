import type * as tf from "@tensorflow/tfjs-core";
import type { ValueBytes } from "../../data/types.ts";

export const AUGMENT = "MocodAugment";

export interface AugmentInputs {
  /** Bytes, four in each i32, least first; values of two bytes likewise. */
  readonly pixels: tf.TensorInfo;
  /** f32[R, rowFloats(channels)], and i32[R, 3] of the same rows: byte offset, height and width of the image. */
  readonly rows: tf.TensorInfo;
  readonly places: tf.TensorInfo;
  /** i32[views]: which row each view is drawn by. */
  readonly picks: tf.TensorInfo;
}

export interface AugmentAttrs {
  readonly size: number;
  readonly channels: number;
  /** Of one value of an image. */
  readonly valueBytes: ValueBytes;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}
