/** Features of images and of texts by the trained network in evaluation mode: threads take chunks in turn. */
import * as tf from "@tensorflow/tfjs-core";
import { PLACE } from "../../data/source.ts";
import { lookRow, rowFloats } from "../../data/view.ts";
import { augment } from "../../kernels/augment/index.ts";
import type { Pass } from "../../nn/network.ts";
import { blockNames, floatsOf } from "../state.ts";
import { named, type ThreadContext, tensorsOf } from "./context.ts";
import type { EmbedTask, EmbedTextsTask } from "./tasks.ts";
import { textGroup } from "./text_group.ts";

const CHUNK = 64;

export function embedChunks(context: ThreadContext, task: EmbedTask): void {
  const { state, networks, mean, std, channels, valueBytes } = context;
  const { indices, places, pixels, look, size, out, blocks } = task;
  const name = networks.trained;
  const network = networks.get(name);
  const stats = tensorsOf(network.stats, floatsOf(state, blockNames.stats(name)));
  context.hold([name], ({ params }) => {
    const { param } = params[name] as (typeof params)[string];
    const pass: Pass = { param, norm: { mode: "eval", stat: (of) => named(stats, of) } };
    const feature = (views: tf.Tensor): tf.Tensor => {
      if (task.what === "pixels") return tf.reshape(views, [views.shape[0] as number, -1]);
      const features = network.backbone(pass, views, blocks);
      return task.what === "backbone" ? features : network.project(pass, features);
    };
    context.take(Math.ceil(indices.length / CHUNK), (chunk) => {
      const from = chunk * CHUNK;
      const part = indices.subarray(from, from + CHUNK);
      const where = places.slice(from * PLACE, (from + part.length) * PLACE);
      const row = rowFloats(channels);
      const rows = new Float32Array(part.length * row);
      part.forEach((sample, i) => {
        const [height, width] = where.subarray(i * PLACE + 1, (i + 1) * PLACE) as unknown as [number, number];
        lookRow(rows, i * row, look, sample, height, width, channels);
      });
      const wanted = feature(augment({ pixels, places: where, channels, valueBytes }, rows, size, mean, std));
      out.set(wanted.dataSync(), from * (wanted.shape[1] as number));
    });
  });
  tf.dispose([...stats.values()]);
}

/** As long as the longest text of a chunk. */
export function embedTextChunks(context: ThreadContext, task: EmbedTextsTask): void {
  const { networks } = context;
  const { lengths, out } = task;
  const name = networks.trained;
  const network = networks.get(name);
  context.hold([name], ({ params }) => {
    const { param } = params[name] as (typeof params)[string];
    const pass: Pass = { param, norm: { mode: "eval", stat: (of) => param(of) } };
    context.take(Math.ceil(lengths.length / CHUNK), (chunk) => {
      const from = chunk * CHUNK;
      const count = Math.min(CHUNK, lengths.length - from);
      const rows = Array.from({ length: count }, (_, i) => from + i);
      const features = network.text(pass, [textGroup(task, rows)]);
      out.set(features.dataSync(), from * (features.shape[1] as number));
    });
  });
}
