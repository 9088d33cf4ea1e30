/**
 * BYOL (Grill et al. 2020): the online network predicts what the target network, its moving average, makes of the other view.
 * F features, C dimension of a projection.
 */
import * as tf from "@tensorflow/tfjs-core";
import { hidden, linear } from "../nn/heads.ts";
import type { ByolSpec } from "../schema/methods/byol.ts";
import { byCosine } from "../util/cosine.ts";
import { cosines } from "./losses/vectors.ts";
import { bothViews, type RowMethod, twoViews } from "./method.ts";

const head = (spec: ByolSpec) => [...hidden(spec.hidden), linear(spec.dim)];

export const byol: RowMethod<ByolSpec> = {
  couples: "rows",
  networks: (spec) => ({
    online: { prefix: "online.", heads: { projector: head(spec), predictor: head(spec) } },
    target: {
      prefix: "target.",
      heads: { projector: head(spec) },
      // m rises to 1 (section 3.3)
      follows: { momentum: (progress) => byCosine(spec.momentum, 1, progress), when: "after" },
    },
  }),
  views: twoViews,
  ...bothViews,

  // z' = g_xi(f_xi(v')), no gradient
  targets: {
    network: "target",
    shuffled: () => false,
    dim: ({ dim }) => dim,
    of(unit) {
      const target = unit.network("target");
      return target.head("projector", target.backbone(unit.views)); // [n,C]
    },
  },

  // |q(z) - z'|^2 of unit vectors, for both views in turn
  loss(unit) {
    const online = unit.network("online");
    const z = online.head("projector", online.backbone(unit.views)); // [n,C]
    const q = online.head("predictor", z); // [n,C]
    const positive = tf.mean(cosines(q, unit.targets()));
    const loss = tf.sub(2, tf.mul(2, positive)) as tf.Scalar;
    return { loss, metrics: tf.reshape(positive, [1]) as tf.Tensor1D };
  },
};
