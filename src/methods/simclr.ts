/**
 * SimCLR (Chen et al. 2020, algorithm 1): the two views of an image attract each other, all other views of the batch repel.
 * N batch, F features, C dimension of a projection.
 */
import * as tf from "@tensorflow/tfjs-core";
import { hidden, linear, norm } from "../nn/heads.ts";
import type { SimclrSpec } from "../schema/methods/simclr.ts";
import { ntXent } from "./losses/nt_xent.ts";
import { normalise } from "./losses/vectors.ts";
import { type BatchMethod, bothViews, twoViews } from "./method.ts";
import { temperatureOf, temperatureSchedule } from "./temperature.ts";

export const simclr: BatchMethod<SimclrSpec> = {
  couples: "batch",
  // h = f(x), z = g(h); only f is used after pretraining
  networks: (spec) => ({
    online: {
      prefix: "online.",
      heads: { projector: [...hidden(spec.hidden), linear(spec.dim, false), norm()] },
    },
  }),
  views: twoViews,
  ...bothViews,

  rows: ({ dim }) => ({ z: { dim } }),
  embed(unit) {
    const online = unit.network("online");
    const h = online.backbone(unit.views); // [n,F]
    return { z: online.head("projector", h) }; // [n,C]
  },

  loss(spec, { z }, step) {
    const all = normalise(tf.concat(z as tf.Tensor2D[], 0)); // [2N,C]
    return ntXent(all as tf.Tensor2D, temperatureOf(spec, step));
  },
  schedules: temperatureSchedule,
};
