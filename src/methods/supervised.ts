/** Supervised training: cross-entropy of the labels, where the head is the classifier. C classes. */
import * as tf from "@tensorflow/tfjs-core";
import { depthOf } from "../nn/encoders/index.ts";
import { linear } from "../nn/heads.ts";
import type { SupervisedSpec } from "../schema/methods/supervised.ts";
import type { RowMethod } from "./method.ts";

export const supervised: RowMethod<SupervisedSpec> = {
  couples: "rows",
  networks: ({ dim }) => ({ classifier: { prefix: "", heads: { fc: [linear(dim)] } } }),
  views: ({ augmentation }) => [augmentation],
  directions: () => 1,
  loss(unit) {
    const classifier = unit.network("classifier");
    const logits = classifier.head("fc", classifier.backbone(unit.views)) as tf.Tensor2D; // [n,C]
    const labels = unit.labels();
    const target = tf.oneHot(labels, unit.spec.dim); // [n,C]
    const loss = tf.mean(tf.sub(tf.logSumExp(logits, 1), tf.sum(tf.mul(logits, target), 1))) as tf.Scalar;
    const top1 = tf.mean(tf.cast(tf.equal(tf.argMax(logits, 1), labels), "float32"));
    return { loss, metrics: tf.reshape(top1, [1]) as tf.Tensor1D };
  },
  /** layerDecay to the power of the stages or blocks between a parameter and the classifier. */
  rate({ layerDecay, encoder }, { name, part }) {
    const { depth, depths } = depthOf(encoder, name);
    return part === "backbone" ? layerDecay ** (depths - depth) : 1;
  },
};
