/**
 * CLIP with what MoCo adds: momentum towers, and a queue of keys for each kind (ALBEF, Li et al. 2021, section 3.2: the
 * image-text contrastive loss, without distillation). A query of an image is compared with the keys of texts, and the other way round:
 * those of the batch, and those in the queue.
 * N pairs, K keys in a queue, C dimension of a key.
 */
import * as tf from "@tensorflow/tfjs-core";
import { infoNce } from "../kernels/info_nce/index.ts";
import type { ClipQueueSpec } from "../schema/methods/clip_queue.ts";
import { encodeUnit, logitScale, towers } from "./clip.ts";
import type { BatchTargets, RingSpec, RowMethod } from "./method.ts";

/** Names of the queue that a direction's queries are compared with, and whose targets it gets. */
const queues = ["texts", "images"] as const;

export const clipQueue: RowMethod<ClipQueueSpec> = {
  couples: "rows",
  networks: (spec) => ({
    online: { prefix: "online.", ...towers(spec), parameters: logitScale(spec.temperature) },
    // k_params = m*k_params + (1-m)*q_params, with the queries' weights of before this step
    momentum: {
      prefix: "momentum.",
      ...towers(spec),
      follows: { momentum: () => spec.momentum, when: "before" },
    },
  }),
  // direction 0: images look for texts; direction 1: texts look for images
  views: ({ augmentation }) => [augmentation, "text"],
  directions: () => 2,

  targets: {
    network: "momentum",
    shuffled: () => false,
    dim: ({ dim }) => dim,
    of: (unit) => encodeUnit(unit.network("momentum"), unit), // [n,C]
  },

  // loss = (CE(image to texts) + CE(text to images)) / 2, a query's own image left out of the negatives
  loss(unit) {
    const online = unit.network("online");
    const q = encodeUnit(online, unit); // [n,C]
    const temperature = tf.exp(tf.neg(online.parameter("logit_scale"))) as tf.Scalar;
    const queue = unit.ring(queues[unit.texts ? 1 : 0]);
    const [batch] = unit.batchTargets() as [BatchTargets];
    const keys = tf.concat([batch.rows, queue.rows], 0); // [N+K,C]
    const queueIds = tf.concat([batch.ids, queue.ids], 0); // [N+K]
    const { loss, metrics } = infoNce(q, unit.targets(), keys, temperature, { ids: unit.ids(), queueIds });
    const [top1, positive, mean] = tf.unstack(metrics) as [tf.Scalar, tf.Scalar, tf.Scalar];
    const count = keys.shape[0] as number;
    // The kernel's mean is over all keys, the query's own among them.
    const negative = tf.div(tf.sub(tf.mul(mean, count), positive), count - 1);
    return { loss: tf.mul(loss, 0.5), metrics: tf.stack([top1, positive, negative, temperature]) as tf.Tensor1D };
  },

  // dequeue and enqueue, after the logits
  rings: (spec) => ({ texts: ring(spec, 0), images: ring(spec, 1) }),
};

const ring = ({ queueSize, dim }: ClipQueueSpec, direction: 0 | 1): RingSpec => {
  const name = queues[direction];
  return {
    rows: queueSize,
    dim,
    direction,
    names: { rows: `queue.${name}`, ids: `queue_ids.${name}`, pointer: `queue_ptr.${name}` },
  };
};
