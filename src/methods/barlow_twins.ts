/**
 * Barlow Twins (Zbontar et al. 2021, algorithm 1): the cross-correlation of the two views' projections is to be the identity.
 * N batch, F features, D dimension of a projection.
 */
import * as tf from "@tensorflow/tfjs-core";
import { hidden, linear } from "../nn/heads.ts";
import type { BarlowTwinsSpec } from "../schema/methods/barlow_twins.ts";
import { type BatchMethod, bothViews, twoViews } from "./method.ts";

/** That of the batch norm without affine which the reference standardises with. */
const EPSILON = 1e-5;

/** Each coordinate over the batch to mean 0 and deviation 1. [N,D] -> [N,D] */
function standardise(z: tf.Tensor2D): tf.Tensor2D {
  const centred = tf.sub(z, tf.mean(z, 0, true));
  return tf.div(centred, tf.sqrt(tf.add(tf.mean(tf.square(centred), 0, true), EPSILON)));
}

export const barlowTwins: BatchMethod<BarlowTwinsSpec> = {
  couples: "batch",
  networks: ({ layers, hidden: width, dim }) => ({
    online: {
      prefix: "online.",
      heads: {
        projector: [
          ...Array(layers - 1)
            .fill(hidden(width))
            .flat(),
          linear(dim, false),
        ],
      },
    },
  }),
  views: twoViews,
  ...bothViews,

  rows: ({ dim }) => ({ z: { dim } }),
  embed(unit) {
    const online = unit.network("online");
    return { z: online.head("projector", online.backbone(unit.views)) }; // [n,D]
  },

  loss({ lambda, dim }, { z }) {
    const [a, b] = (z as [tf.Tensor2D, tf.Tensor2D]).map(standardise) as [tf.Tensor2D, tf.Tensor2D]; // [N,D]
    const c = tf.div(tf.matMul(a, b, true, false), a.shape[0]); // [D,D]
    const diagonal = tf.div(tf.sum(tf.mul(a, b), 0), a.shape[0]); // [D]: the same sums
    const onDiagonal = tf.sum(tf.square(tf.sub(diagonal, 1)));
    const offDiagonal = tf.sub(tf.sum(tf.square(c)), tf.sum(tf.square(diagonal)));
    const loss = tf.add(onDiagonal, tf.mul(offDiagonal, lambda)) as tf.Scalar;
    const redundancy = tf.sqrt(tf.div(tf.maximum(offDiagonal, 0), dim * (dim - 1)));
    return { loss, metrics: tf.stack([tf.mean(diagonal), redundancy]) as tf.Tensor1D };
  },
};
