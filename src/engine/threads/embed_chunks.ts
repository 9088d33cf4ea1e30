/** Features of images by the query encoder in evaluation mode: threads take chunks in turn. */
import * as tf from "@tensorflow/tfjs-core";
import { PLACE } from "../../data/source.ts";
import { lookRow, ROW } from "../../data/view.ts";
import { augment } from "../../kernels/augment/index.ts";
import type { Pass } from "../../nn/encoders/resnet.ts";
import { named, type ThreadContext, tensorsOf } from "./context.ts";
import type { EmbedTask } from "./tasks.ts";

const CHUNK = 64;

export function embedChunks(context: ThreadContext, task: EmbedTask): void {
  const { state, encoder, mean, std, channels } = context;
  const { indices, places, pixels, look, size, out } = task;
  const stats = tensorsOf(encoder.stats, state.queryStats);
  context.withParams(state.queryParams, (param) => {
    const pass: Pass = { param, norm: { mode: "eval", stat: (name) => named(stats, name) } };
    const feature = (views: tf.Tensor): tf.Tensor => {
      if (task.what === "pixels") return tf.reshape(views, [views.shape[0] as number, -1]);
      const features = encoder.backbone(pass, views);
      return task.what === "backbone" ? features : encoder.project(pass, features);
    };
    context.take(Math.ceil(indices.length / CHUNK), (chunk) => {
      const from = chunk * CHUNK;
      const part = indices.subarray(from, from + CHUNK);
      const where = places.slice(from * PLACE, (from + part.length) * PLACE);
      const rows = new Float32Array(part.length * ROW);
      part.forEach((sample, i) => {
        lookRow(rows, i * ROW, look, sample, where[i * PLACE + 1] as number, where[i * PLACE + 2] as number);
      });
      const wanted = feature(augment({ pixels, places: where, channels }, rows, size, mean, std));
      out.set(wanted.dataSync(), from * (wanted.shape[1] as number));
    });
  });
  tf.dispose([...stats.values()]);
}
