/** InfoNCE where the negatives of a query are the other keys of its batch (MoCo v3, algorithm 1). */
import * as tf from "@tensorflow/tfjs-core";
import { infoNce } from "../../kernels/info_nce/index.ts";
import type { Outcome, Unit } from "../method.ts";
import type { Temperature } from "../temperature.ts";

/**
 * `factor` times the mean cross-entropy of finding each query's key among all N of the batch, and what `infoNce` measures.
 *
 * The kernel takes a query's key by itself and the negatives of all queries together, so they are all keys of the batch, and
 * of each query its own image's is left out of them: the sum in the denominator is the same.
 *
 * @param q f32[n,C], rows of unit length.
 */
export function inBatchInfoNce<S>(
  unit: Unit<S>,
  q: tf.Tensor,
  temperature: Temperature,
  factor: number | tf.Tensor,
): Outcome {
  const [own, ids] = [unit.targets(), unit.ids()];
  const outcomes = unit.batchTargets().map(({ from, count, rows, ids: all }) => {
    const part = <T extends tf.Tensor>(x: T): T =>
      (count === x.shape[0]
        ? x
        : tf.slice(x, [from, ...x.shape.slice(1).map(() => 0)], [count, ...x.shape.slice(1)])) as T;
    const { loss, metrics } = infoNce(part(q), part(own), rows, temperature, { ids: part(ids), queueIds: all });
    const [top1, positive, mean] = tf.unstack(metrics) as [tf.Scalar, tf.Scalar, tf.Scalar];
    const keys = rows.shape[0] as number;
    // The kernel's mean is over all keys, the query's own among them.
    const negative = tf.div(tf.sub(tf.mul(mean, keys), positive), Math.max(1, keys - 1));
    return { loss, metrics: tf.stack([top1, positive, negative]) };
  });
  const meanOf = (values: tf.Tensor[]) => tf.div(tf.addN(values), values.length);
  return {
    loss: tf.mul(meanOf(outcomes.map(({ loss }) => loss)), factor) as tf.Scalar,
    metrics: meanOf(outcomes.map(({ metrics }) => metrics)) as tf.Tensor1D,
  };
}
