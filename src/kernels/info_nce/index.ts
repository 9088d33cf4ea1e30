/**
 * InfoNCE (van den Oord et al. 2018; MoCo eq. 1) and its gradient in one kernel.
 *
 *     loss = mean over i of -log( exp(q_i.k_i / T) / (exp(q_i.k_i / T) + sum over j of exp(q_i.queue_j / T)) )
 *
 * Where images are named, j leaves out the keys of the query's own image (moco#24, lightly#564: as negatives they pull
 * against the positive). Only the queries have a gradient: keys and queue are constants to MoCo's step.
 */
import * as tf from "@tensorflow/tfjs-core";
import { expectShape } from "../../util/errors.ts";

export const INFO_NCE = "MocodInfoNce";

export interface InfoNceAttrs {
  temperature: number;
}

tf.registerGradient({
  kernelName: INFO_NCE,
  inputsToSave: [],
  outputsToSave: [false, false, true],
  gradFunc: (dys, saved) => ({ q: () => tf.mul((dys as tf.Tensor[])[0] as tf.Tensor, saved[0] as tf.Tensor) }),
});

/** Images that the queries, i32[N], and the keys in the queue, i32[K], are of. */
export interface ImageIds {
  readonly ids: tf.Tensor;
  readonly queueIds: tf.Tensor;
}

/**
 * @param q f32[N,C]: queries. They and all other rows are of unit length.
 * @param k f32[N,C]: the positive of each query.
 * @param queue f32[K,C]: the negatives of all of them.
 * @param temperature T, above 0; a scalar where it is scheduled or learned, and then it has a gradient.
 * @param images Where given, a query's own image is no negative of it.
 * @returns the loss, and f32[3]: (K+1)-way accuracy, mean cosine of a query with its key, and with the keys in the queue.
 * @throws where shapes do not agree.
 */
export function infoNce(
  q: tf.Tensor,
  k: tf.Tensor,
  queue: tf.Tensor,
  temperature: number | tf.Scalar,
  images?: ImageIds,
): { loss: tf.Scalar; metrics: tf.Tensor1D } {
  const [n, c] = q.shape as [number, number];
  expectShape("InfoNCE: q", q.shape, [-1, -1]);
  expectShape("InfoNCE: k", k.shape, [n, c]);
  expectShape("InfoNCE: queue", queue.shape, [-1, c]);
  if (images) {
    expectShape("InfoNCE: ids", images.ids.shape, [n]);
    expectShape("InfoNCE: queueIds", images.queueIds.shape, [queue.shape[0] as number]);
  }
  if (typeof temperature !== "number") {
    // The loss depends on q / T alone, and the cosines on q.
    const { loss, metrics } = infoNce(tf.div(q, temperature), k, queue, 1, images);
    return { loss, metrics: tf.mul(metrics, tf.stack([1, temperature, temperature])) };
  }
  const inputs = { q, k, queue, ...images } as unknown as tf.NamedTensorMap;
  const attrs: InfoNceAttrs = { temperature };
  const [loss, metrics] = tf.engine().runKernel(INFO_NCE, inputs, attrs as unknown as tf.NamedAttrMap) as tf.Tensor[];
  return { loss: loss as tf.Scalar, metrics: metrics as tf.Tensor1D };
}
