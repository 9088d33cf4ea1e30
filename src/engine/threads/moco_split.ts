/** MoCo on one unit, a split in one direction: the keys without gradient, then the queries' loss and its gradient. */
import * as tf from "@tensorflow/tfjs-core";
import { floatsOf } from "../../backend/wasm.ts";
import { infoNce } from "../../kernels/info_nce/index.ts";
import { normalise, splitPositions } from "../../methods/moco.ts";
import { differentiate } from "../../nn/differentiate.ts";
import type { Pass } from "../../nn/encoders/resnet.ts";
import { METRICS } from "../state.ts";
import type { ThreadContext } from "./context.ts";
import { keepGradients, trainingPass, viewsOf } from "./split.ts";
import type { BatchTask } from "./tasks.ts";

function directionOf({ spec }: ThreadContext, unit: number) {
  const direction = Math.floor(unit / spec.splits);
  return { direction, split: unit % spec.splits, queryView: direction, keyView: 1 - direction };
}

/** Writes the unit's keys to `buffers.keys`, each at the batch position it belongs to. */
export function encodeKeys(context: ThreadContext, unit: number, task: BatchTask, param: Pass["param"]): void {
  const { spec, buffers, encoder } = context;
  const { direction, split, keyView } = directionOf(context, unit);
  const order = buffers.shuffle.subarray(direction * spec.batchSize, (direction + 1) * spec.batchSize);
  const positions = splitPositions(order, split, spec.splits);
  const pass = trainingPass(encoder, param, buffers.keyBatchStats, unit);
  const features = encoder.backbone(pass, viewsOf(context, task, positions, keyView));
  const keys = normalise(encoder.project(pass, features)).dataSync(); // [N/S, C]
  positions.forEach((position, i) => {
    const row = keys.subarray(i * spec.dim, (i + 1) * spec.dim);
    buffers.keys.set(row, (direction * spec.batchSize + position) * spec.dim);
  });
}

/** Differentiates the loss of the unit's queries; the gradient goes to slot `unit - task.from`. */
export function learnQueries(
  context: ThreadContext,
  unit: number,
  task: BatchTask & { from: number },
  param: Pass["param"],
  all: tf.Tensor[],
  queue: tf.Tensor,
): void {
  const { spec, state, buffers, encoder } = context;
  const { direction, split, queryView } = directionOf(context, unit);
  const order = Array.from({ length: spec.batchSize }, (_, i) => i);
  const positions = splitPositions(order, split, spec.splits);
  const keys = new Float32Array(positions.length * spec.dim);
  positions.forEach((position, i) => {
    const at = (direction * spec.batchSize + position) * spec.dim;
    keys.set(buffers.keys.subarray(at, at + spec.dim), i * spec.dim);
  });
  const views = viewsOf(context, task, positions, queryView);
  const k = tf.tensor2d(keys, [positions.length, spec.dim]);
  const ids = positions.map((p) => buffers.batch[p] as number);
  const images = spec.maskSameImage
    ? { ids: tf.tensor1d(ids, "int32"), queueIds: tf.tensor1d(state.queueIds, "int32") }
    : undefined;
  const pass = trainingPass(encoder, param, buffers.queryBatchStats, unit);
  const keep = keepGradients(encoder, buffers.splitGradients, unit - task.from);
  let metrics: tf.Tensor | undefined;
  const loss = () => {
    const q = normalise(encoder.project(pass, encoder.backbone(pass, views)));
    const outcome = infoNce(q, k, queue, spec.temperature, images);
    metrics = tf.keep(outcome.metrics);
    return outcome.loss;
  };
  const value = differentiate(loss, all, keep);
  const kept = metrics as unknown as tf.Tensor;
  buffers.metrics.set([...floatsOf(value), ...floatsOf(kept)], unit * METRICS);
  kept.dispose();
}
