/** Which encoders there are. To add one: its file, one line in each function here, its fields in `schema/encoder.ts`. */
import { isVit } from "../../schema/encoder.ts";
import type { EncoderSpec } from "../../schema/pretrain.ts";
import type { Ops } from "../ops.ts";
import { resnet, resnetFeatures, resnets } from "./resnet.ts";
import { vit, vitFeatures } from "./vit.ts";

/** The ResNets. */
export const resnetNames = Object.keys(resnets) as (keyof typeof resnets)[];

/** Dimension of the features of an image. */
export const featuresOf = (spec: EncoderSpec): number => (isVit(spec) ? vitFeatures(spec) : resnetFeatures(spec));

/** images [N,side,side,channels] -> features [N,featuresOf(spec)], or those of the last `blocks` blocks of a ViT side by side */
export function encode<T>(ops: Ops<T>, spec: EncoderSpec, channels: number, side: number, images: T, blocks = 1): T {
  return isVit(spec) ? vit(ops, spec, channels, side, images, blocks) : resnet(ops, spec, channels, images);
}

/** The convolution that sees the images: its weight's shape tells their channels. */
export const stemOf = (spec: EncoderSpec): string =>
  !isVit(spec) ? "conv1" : spec.stem === "conv" ? "patch_embed.proj.0" : "patch_embed.proj";

/**
 * How deep a parameter of the backbone is, and how many depths there are: 0 is the stem, then a stage of a ResNet or a block of a
 * ViT; heads, and a ViT's last norm, come after all of them.
 */
export function depthOf(spec: EncoderSpec, name: string): { depth: number; depths: number } {
  const [stage = "", index] = name.split(".");
  if (isVit(spec)) {
    const depth = stage === "blocks" ? Number(index) + 1 : stage === "norm" ? spec.depth + 1 : 0;
    return { depth, depths: spec.depth + 1 };
  }
  return { depth: stage.startsWith("layer") ? Number(stage.slice(5)) : 0, depths: 5 };
}

/** Floats of activations and their gradients for an image, more than any of these encoders has at once. */
export function mostActivations(spec: EncoderSpec, side: number): number {
  // Of a block of a ViT: 18 C a token, and as much in its gradients. Of a ResNet: 120 times the first stage's output.
  if (isVit(spec)) return 40 * spec.width * spec.depth * ((side / spec.patch) ** 2 + 1);
  const first = spec.stem === "cifar" ? side : side / 4;
  return 120 * first * first * spec.width;
}
