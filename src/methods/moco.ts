/**
 * MoCo (He et al. 2020; Chen et al. 2020): a dictionary as a queue, a key encoder as a moving average.
 * In the order of facebookresearch/moco, moco/builder.py. N batch, C dimension of a key, K keys in the queue.
 */
import { infoNce } from "../kernels/info_nce/index.ts";
import { featuresOf } from "../nn/encoders/index.ts";
import { linear, relu } from "../nn/heads.ts";
import type { MocoSpec } from "../schema/methods/moco.ts";
import { normalise } from "./losses/vectors.ts";
import { type RowMethod, twoViews } from "./method.ts";
import { temperatureOf, temperatureSchedule } from "./temperature.ts";

const headOf = ({ head, dim, encoder }: MocoSpec) =>
  head === "mlp" ? [linear(featuresOf(encoder)), relu, linear(dim)] : [linear(dim)];

export const moco: RowMethod<MocoSpec> = {
  couples: "rows",
  networks: (spec) => ({
    query: { prefix: "module.encoder_q.", heads: { fc: headOf(spec) } },
    // k_params = m*k_params + (1-m)*q_params, with the queries' weights of before this step
    key: {
      prefix: "module.encoder_k.",
      heads: { fc: headOf(spec) },
      follows: { momentum: () => spec.momentum, when: "before" },
    },
  }),
  views: twoViews,
  directions: ({ symmetric }) => (symmetric ? 2 : 1),

  // k = normalise(f_k(x_k[shuffle]))[unshuffle], no gradient
  targets: {
    network: "key",
    shuffled: ({ shuffle }) => shuffle,
    dim: ({ dim }) => dim,
    of(unit) {
      const key = unit.network("key");
      return normalise(key.head("fc", key.backbone(unit.views))); // [n,C]
    },
  },

  // loss = CE([q.k, q.queue] / T, 0)
  loss(unit) {
    const { maskSameImage } = unit.spec;
    const query = unit.network("query");
    const q = normalise(query.head("fc", query.backbone(unit.views))); // [n,C]
    const queue = unit.ring("queue"); // [K,C]
    const images = maskSameImage ? { ids: unit.ids(), queueIds: queue.ids } : undefined;
    return infoNce(q, unit.targets(), queue.rows, temperatureOf(unit.spec, unit), images); // logits [n,1+K]
  },

  schedules: temperatureSchedule,

  // dequeue and enqueue, after the logits
  rings: ({ queueSize, dim }) => ({
    queue: {
      rows: queueSize,
      dim,
      names: { rows: "module.queue", ids: "queue_ids", pointer: "module.queue_ptr" },
    },
  }),
};
