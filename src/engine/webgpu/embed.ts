/** Features of a batch of images by the query encoder in evaluation mode, said once and recorded. */
import * as tf from "@tensorflow/tfjs-core";
import { augmentViews } from "../../kernels/augment/views.ts";
import { launchGather } from "../../kernels/update/webgpu.ts";
import type { Pass } from "../../nn/encoders/resnet.ts";
import { named } from "../threads/context.ts";
import type { EmbedTask } from "../threads/tasks.ts";
import type { Program } from "./step.ts";

/** The features of the first `count` rows to `out` f32[count, F]. Always in float32: they are compared between devices. */
export function embedBatch(
  { encoder, state, views, channels, mean, std }: Program,
  { what, size }: Pick<EmbedTask, "what" | "size">,
  out: tf.Tensor,
  count: number,
): void {
  const [params, stats] = [state.tensors("queryParams"), state.tensors("queryStats")];
  const pass: Pass = {
    param: (name) => named(params, name),
    norm: { mode: "eval", stat: (name) => named(stats, name) },
  };
  const { pixels, places, rows } = views;
  const images = augmentViews(
    {
      ...{ pixels: pixels.tensor, places: places.tensor, rows: rows.tensor },
      picks: tf.range(0, count, 1, "int32"),
    },
    { size, channels, mean, std },
  );
  const flat = tf.reshape(images, [count, -1]);
  if (what === "pixels") {
    launchGather([{ tensor: flat, offset: 0 }], out);
    return;
  }
  const features = encoder.backbone(pass, images);
  const wanted = what === "backbone" ? features : encoder.project(pass, features);
  launchGather([{ tensor: wanted, offset: 0 }], out);
}
