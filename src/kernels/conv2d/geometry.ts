/** What a convolution is, as tfjs describes it. */
import * as tf from "@tensorflow/tfjs-core";

export type Info = tf.backend_util.Conv2DInfo;

/** tfjs's attributes of Conv2D and of its two gradients. */
export interface ConvAttrs {
  strides: number | [number, number];
  pad: "valid" | "same" | number;
  dilations?: number | [number, number];
  dimRoundingMode?: "floor" | "round" | "ceil";
  inputShape?: [number, number, number, number];
  filterShape?: [number, number, number, number];
}

/** Throws Error for what no kernel of ours does. */
export function describe(xShape: number[], filterShape: number[], attrs: ConvAttrs): Info {
  const info = tf.backend_util.computeConv2DInfo(
    xShape as [number, number, number, number],
    filterShape as [number, number, number, number],
    attrs.strides,
    attrs.dilations ?? 1,
    attrs.pad,
    attrs.dimRoundingMode,
  );
  if (info.dilationHeight !== 1 || info.dilationWidth !== 1 || info.strideHeight !== info.strideWidth) {
    throw new Error(
      `conv2d: dilation 1 and equal strides are allowed, got dilation [${info.dilationHeight},${info.dilationWidth}], ` +
        `strides [${info.strideHeight},${info.strideWidth}]`,
    );
  }
  return info;
}
