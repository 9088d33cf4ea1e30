/** Which encoders there are. To add one: its file, one line here, its name in `schema/pretrain.ts`. */
import type { EncoderSpec } from "../../schema/pretrain.ts";
import type { Ops } from "../ops.ts";
import { resnet, resnetFeatures, resnets } from "./resnet.ts";

/** Every `encoder.arch`. */
export const architectures = Object.keys(resnets) as EncoderSpec["arch"][];

/** Dimension of the features of an image. */
export const featuresOf = (spec: EncoderSpec): number => resnetFeatures(spec);

/** images [N,HW,HW,channels] -> features [N,featuresOf(spec)] */
export function encode<T>(ops: Ops<T>, spec: EncoderSpec, channels: number, images: T): T {
  return resnet(ops, spec, channels, images);
}
