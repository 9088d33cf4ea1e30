/** Supervised training on one split: cross-entropy of the labels, where the encoder's head is the classifier. */
import * as tf from "@tensorflow/tfjs-core";
import { splitPositions } from "../../methods/moco.ts";
import { differentiate } from "../../nn/differentiate.ts";
import type { Pass } from "../../nn/encoders/resnet.ts";
import { METRICS } from "../state.ts";
import type { ThreadContext } from "./context.ts";
import { keepGradients, trainingPass, viewsOf } from "./split.ts";
import type { BatchTask } from "./tasks.ts";

/** Differentiates the loss of the split; the gradient goes to slot `split - task.from`. */
export function classifySplit(
  context: ThreadContext,
  split: number,
  task: BatchTask & { from: number },
  param: Pass["param"],
  all: tf.Tensor[],
): void {
  const { spec, buffers, encoder } = context;
  const order = Array.from({ length: spec.batchSize }, (_, i) => i);
  const positions = splitPositions(order, split, spec.splits);
  const views = viewsOf(context, task, positions, 0);
  const labels = tf.tensor1d(
    positions.map((p) => buffers.labels[p] as number),
    "int32",
  );
  const target = tf.oneHot(labels, spec.dim); // [N/S, classes]
  const pass = trainingPass(encoder, param, buffers.queryBatchStats, split);
  let kept: tf.Tensor | undefined;
  const loss = () => {
    const logits = encoder.project(pass, encoder.backbone(pass, views)); // [N/S, classes]
    kept = tf.keep(logits);
    return tf.mean(tf.sub(tf.logSumExp(logits, 1), tf.sum(tf.mul(logits, target), 1))) as tf.Scalar;
  };
  const value = differentiate(loss, all, keepGradients(encoder, buffers.splitGradients, split - task.from));
  const correct = tf.mean(tf.cast(tf.equal(tf.argMax(kept as tf.Tensor, 1), labels), "float32"));
  buffers.metrics[split * METRICS] = value.dataSync()[0] as number;
  buffers.metrics[split * METRICS + 1] = correct.dataSync()[0] as number;
  kept?.dispose();
}
