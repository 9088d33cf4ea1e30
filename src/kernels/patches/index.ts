/**
 * Images as rows of square patches, whose product with a matrix is the convolution of a Vision Transformer's patch
 * projection (Dosovitskiy et al. 2021, eq. 1). It has no gradient: what it takes are images.
 */
import * as tf from "@tensorflow/tfjs-core";

export const PATCHES = "MocodPatches";

export interface PatchesAttrs {
  readonly side: number;
}

/**
 * @param x f32[N,H,W,C]
 * @param side P of a patch, which divides H and W.
 * @returns f32[N, H/P * W/P, P*P*C]: patches row by row, in each its pixels row by row.
 * @throws where `side` does not divide H and W.
 */
export function patches(x: tf.Tensor, side: number): tf.Tensor {
  const [, h, w] = x.shape as [number, number, number, number];
  if (h % side !== 0 || w % side !== 0) {
    throw new Error(`patches: got images of ${h} x ${w}, allowed: multiples of the patch's side ${side}`);
  }
  const attrs: PatchesAttrs = { side };
  return tf.engine().runKernel(PATCHES, { x }, attrs as unknown as tf.NamedAttrMap) as tf.Tensor;
}

export function patchesShape(x: tf.TensorInfo, side: number): [number, number, number] {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  return [n, (h / side) * (w / side), side * side * c];
}
