/**
 * CLIP (Radford et al. 2021, section 2.3 and figure 3): an image and its text attract each other, all other pairings of the batch
 * repel; or each pairing is judged by itself, as in SigLIP (Zhai et al. 2023). The temperature is learned.
 * N pairs, F features of an image, C dimension of a projection.
 */
import * as tf from "@tensorflow/tfjs-core";
import { linear } from "../nn/heads.ts";
import type { CommonSpec } from "../schema/common.ts";
import type { ClipSpec } from "../schema/methods/clip.ts";
import { pairMetrics, sigmoidLoss, symmetricCrossEntropy } from "./losses/pairs.ts";
import { normalise } from "./losses/vectors.ts";
import type { BatchMethod, Bound, NetworkSpec, Unit } from "./method.ts";

/** Most that logits are multiplied by. */
const LARGEST_SCALE = 100;

/** Image encoder and text tower, each with a projection without bias. */
export const towers = ({ text, dim }: Pick<ClipSpec, "text" | "dim">): Pick<NetworkSpec, "heads" | "text"> => ({
  heads: { projection: [linear(dim, false)] },
  text: { encoder: text, dim },
});

/** log(1 / T) at first, and its bounds. */
export const logitScale = (temperature: number) => ({
  logit_scale: { shape: [], init: Math.log(1 / temperature), range: [0, Math.log(LARGEST_SCALE)] as const },
});

/** f32[n,C], of unit length: of a unit's images, or of its texts. */
export const encodeUnit = (model: Bound, unit: Pick<Unit<CommonSpec>, "views" | "texts">): tf.Tensor =>
  normalise(unit.texts ? model.text(unit.texts) : model.head("projection", model.backbone(unit.views)));

export const clip: BatchMethod<ClipSpec> = {
  couples: "batch",
  networks: (spec) => ({
    online: {
      prefix: "online.",
      ...towers(spec),
      parameters: {
        ...logitScale(spec.temperature),
        ...(spec.loss === "sigmoid" ? { logit_bias: { shape: [], init: spec.bias } } : {}),
      },
    },
  }),
  // direction 0: I_e = normalise(f(I) W_i); direction 1: T_e = normalise(g(T) W_t)
  views: ({ augmentation }) => [augmentation, "text"],
  directions: () => 2,

  rows: ({ dim }) => ({ z: { dim } }),
  embed: (unit) => ({ z: encodeUnit(unit.network("online"), unit) }), // [n,C]

  // logits = I_e T_e^T exp(t)
  loss(spec, { z }, step) {
    const [images, texts] = z as [tf.Tensor2D, tf.Tensor2D]; // [N,C] each
    const scale = tf.exp(step.parameter("logit_scale")) as tf.Scalar;
    const scaled = tf.mul(images, scale) as tf.Tensor2D;
    const loss =
      spec.loss === "sigmoid"
        ? sigmoidLoss(scaled, texts, step.parameter("logit_bias") as tf.Scalar)
        : symmetricCrossEntropy(scaled, texts);
    const temperature = tf.reshape(tf.div(1, scale), [1]);
    return { loss, metrics: tf.concat([pairMetrics(images, texts), temperature], 0) as tf.Tensor1D };
  },
};
