/** Features of a batch of images, or of texts, by the trained network in evaluation mode, said once and recorded. */
import * as tf from "@tensorflow/tfjs-core";
import { augmentViews } from "../../kernels/augment/views.ts";
import type { Pass } from "../../nn/network.ts";
import { blockNames } from "../state.ts";
import { named } from "../threads/context.ts";
import type { EmbedTask } from "../threads/tasks.ts";
import { launchGather } from "./launches.ts";
import type { Program } from "./program.ts";

/** The features of the first `count` rows to `out` f32[count, F]. Always in float32: they are compared between devices. */
export function embedBatch(
  { networks, state, views, channels, valueBytes, mean, std }: Program,
  { what, size, blocks }: Pick<EmbedTask, "what" | "size" | "blocks">,
  out: tf.Tensor,
  count: number,
): void {
  const network = networks.get(networks.trained);
  const pass = evaluating({ networks, state });
  const { pixels, places, rows } = views;
  const images = augmentViews(
    {
      pixels: pixels.tensor,
      places: places.tensor,
      rows: rows.tensor,
      picks: tf.range(0, count, 1, "int32"),
    },
    { size, channels, valueBytes, mean, std },
  );
  const flat = tf.reshape(images, [count, -1]);
  if (what === "pixels") {
    launchGather([{ tensor: flat, offset: 0 }], out);
    return;
  }
  const features = network.backbone(pass, images, blocks);
  const wanted = what === "backbone" ? features : network.project(pass, features);
  launchGather([{ tensor: wanted, offset: 0 }], out);
}

/** The features of the texts in the step's inputs to `out` f32[N, dim]. In float32, too. */
export function embedTextBatch({ networks, state, inputs }: Program, out: tf.Tensor): void {
  const texts = [{ tokens: inputs.tokens.tensor, lengths: inputs.lengths.tensor }];
  const features = networks.get(networks.trained).text(evaluating({ networks, state }), texts);
  launchGather([{ tensor: features, offset: 0 }], out);
}

/** The trained network in evaluation mode. */
function evaluating({ networks, state }: Pick<Program, "networks" | "state">): Pass {
  const params = state.tensors(blockNames.params(networks.trained));
  const stats = state.tensors(blockNames.stats(networks.trained));
  return {
    param: (name) => named(params, name),
    norm: { mode: "eval", stat: (name) => named(stats, name) },
  };
}
