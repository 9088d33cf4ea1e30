/**
 * What a Vision Transformer does to its tokens besides its blocks (Dosovitskiy et al. 2021, eq. 1 and 4): a class token is put
 * before them and positions are added; at the end the class token alone is taken.
 */
import * as tf from "@tensorflow/tfjs-core";
import { expectShape } from "../../util/errors.ts";

export const PLACE = "MocodPlaceTokens";
export const PLACE_GRAD = "MocodPlaceTokensGrad";
export const FIRST = "MocodFirstToken";
export const FIRST_GRAD = "MocodFirstTokenGrad";

export interface PlaceAttrs {
  /** Whether there is a class token: then y has one token more than x. */
  readonly token: boolean;
}

export interface FirstAttrs {
  /** T */
  readonly tokens: number;
}

tf.registerGradient({
  kernelName: PLACE,
  gradFunc: (dy, _, attrs) => {
    const [dx, dtoken, dpositions] = tf.engine().runKernel(PLACE_GRAD, { dy: dy as tf.Tensor }, attrs) as [
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
    ];
    return { x: () => dx.clone(), token: () => dtoken.clone(), positions: () => dpositions.clone() };
  },
});

tf.registerGradient({
  kernelName: FIRST,
  gradFunc: (dy, _, attrs) => ({
    x: () => tf.engine().runKernel(FIRST_GRAD, { dy: dy as tf.Tensor }, attrs) as tf.Tensor,
  }),
});

/**
 * @param x f32[N,P,C]
 * @param token f32[1,1,C], where there is a class token.
 * @param positions f32[1,T,C], where they are added.
 * @returns f32[N,T,C], T = P + 1 with a class token, else P.
 * @throws where shapes do not agree.
 */
export function place(
  x: tf.Tensor,
  { token, positions }: { token?: tf.Tensor | undefined; positions?: tf.Tensor | undefined },
): tf.Tensor {
  const [, count, c] = x.shape as [number, number, number];
  if (token) expectShape("class token", token.shape, [1, 1, c]);
  if (positions) expectShape("positions", positions.shape, [1, count + (token ? 1 : 0), c]);
  const inputs = { x, ...(token && { token }), ...(positions && { positions }) } as tf.NamedTensorMap;
  const attrs: PlaceAttrs = { token: token !== undefined };
  return tf.engine().runKernel(PLACE, inputs, attrs as unknown as tf.NamedAttrMap) as tf.Tensor;
}

/** f32[N,T,C] -> f32[N,C] */
export function firstToken(x: tf.Tensor): tf.Tensor {
  expectShape("first token", x.shape, [-1, -1, -1]);
  const attrs: FirstAttrs = { tokens: x.shape[1] as number };
  return tf.engine().runKernel(FIRST, { x }, attrs as unknown as tf.NamedAttrMap) as tf.Tensor;
}
