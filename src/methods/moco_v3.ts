/**
 * MoCo v3 (Chen, Xie and He 2021, algorithm 1): no queue, the keys of the batch are the negatives; a predictor; both views
 * are queries and keys in turn. In the order of facebookresearch/moco-v3, moco/builder.py. N batch, F features, C dimension of a key.
 */
import * as tf from "@tensorflow/tfjs-core";
import { type HeadLayer, hidden, linear, norm } from "../nn/heads.ts";
import { isVit } from "../schema/encoder.ts";
import type { MocoV3Spec } from "../schema/methods/moco_v3.ts";
import { byCosine } from "../util/cosine.ts";
import { inBatchInfoNce } from "./losses/in_batch.ts";
import { normalise } from "./losses/vectors.ts";
import { bothViews, type RowMethod, twoViews } from "./method.ts";
import { temperatureOf, temperatureSchedule } from "./temperature.ts";

/** The last norm has no gain and bias. */
const projectorOf = ({ encoder, hidden: width, dim }: MocoV3Spec): HeadLayer[] => [
  ...hidden(width),
  ...(isVit(encoder) ? hidden(width) : []),
  linear(dim, false),
  norm(false),
];
const predictorOf = ({ encoder, hidden: width, dim }: MocoV3Spec): HeadLayer[] => [
  ...hidden(width),
  linear(dim, false),
  ...(isVit(encoder) ? [norm(false)] : []),
];

export const mocoV3: RowMethod<MocoV3Spec> = {
  couples: "rows",
  networks: (spec) => ({
    base: { prefix: "base_encoder.", heads: { projector: projectorOf(spec), predictor: predictorOf(spec) } },
    // backbone and projector, with the weights of before this step
    momentum: {
      prefix: "momentum_encoder.",
      heads: { projector: projectorOf(spec) },
      follows: {
        momentum: (progress) =>
          spec.momentumSchedule === "cosine" ? byCosine(spec.momentum, 1, progress) : spec.momentum,
        when: "before",
      },
    },
  }),
  views: twoViews,
  ...bothViews,

  // k = normalise(f_k(x')), no gradient
  targets: {
    network: "momentum",
    shuffled: () => false,
    dim: ({ dim }) => dim,
    of(unit) {
      const momentum = unit.network("momentum");
      return normalise(momentum.head("projector", momentum.backbone(unit.views))); // [n,C]
    },
  },

  // 2T * CE(q k^T / T), of both directions
  loss(unit) {
    const base = unit.network("base");
    const z = base.head("projector", base.backbone(unit.views)); // [n,C]
    const q = normalise(base.head("predictor", z)); // [n,C]
    const temperature = temperatureOf(unit.spec, unit);
    const factor = typeof temperature === "number" ? 2 * temperature : tf.mul(temperature, 2);
    return inBatchInfoNce(unit, q, temperature, factor); // logits [n,N]
  },
  schedules: temperatureSchedule,
};
