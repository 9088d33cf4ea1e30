/**
 * SimSiam (Chen and He 2021, algorithm 1): a predictor and a stop-gradient are enough, without negatives and without a moving
 * average. N batch, F features, C dimension of a projection.
 */
import * as tf from "@tensorflow/tfjs-core";
import { hidden, linear, norm } from "../nn/heads.ts";
import type { SimsiamSpec } from "../schema/methods/simsiam.ts";
import { cosines, deviation } from "./losses/vectors.ts";
import { type BatchMethod, bothViews, twoViews } from "./method.ts";

export const simsiam: BatchMethod<SimsiamSpec> = {
  couples: "batch",
  networks: ({ layers, hidden: width, dim, bottleneck }) => ({
    online: {
      prefix: "online.",
      heads: {
        projector: [
          ...Array(layers - 1)
            .fill(hidden(width))
            .flat(),
          linear(dim, false),
          norm(false),
        ],
        predictor: [...hidden(bottleneck), linear(dim)],
      },
    },
  }),
  views: twoViews,
  ...bothViews,

  // z = f(x), p = h(z); z is a constant to the loss of the other view
  rows: ({ dim }) => ({ p: { dim }, z: { dim, constant: true } }),
  embed(unit) {
    const online = unit.network("online");
    const z = online.head("projector", online.backbone(unit.views)); // [n,C]
    return { p: online.head("predictor", z), z }; // [n,C] each
  },

  // L = D(p1, z2)/2 + D(p2, z1)/2, D the negative cosine
  loss(_, { p, z }) {
    const [p1, p2] = p as [tf.Tensor2D, tf.Tensor2D];
    const [z1, z2] = z as [tf.Tensor2D, tf.Tensor2D];
    const positive = tf.div(tf.add(tf.mean(cosines(p1, z2)), tf.mean(cosines(p2, z1))), 2);
    return { loss: tf.neg(positive) as tf.Scalar, metrics: tf.stack([positive, deviation(z1)]) as tf.Tensor1D };
  },

  /** The predictor's rate does not fall (section 4.2: it should adapt to the latest representations). */
  rate: ({ optimizer, predictorRate }, { part }, lr) =>
    predictorRate === "constant" && part === "predictor" && lr > 0 ? optimizer.lr / lr : 1,
};
