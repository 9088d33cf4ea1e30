/**
 * Both towers of a run on pairs as OpenCLIP's state dict (mlfoundations/open_clip: model.py, transformer.py; the tower for images is its
 * timm_model.py), and the configuration that its `CLIP` is built by. C width of the text tower, L context.
 */
import { OWN, TEXT } from "../nn/layout.ts";
import { type EncoderSpec, isVit, type ResnetSpec, type VitSpec } from "../schema/encoder.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import { type TextEncoderSpec, vocabularyOf } from "../schema/text_encoder.ts";
import type { StoredTensor } from "../store/safetensors.ts";
import { END, PADDING } from "../text/tokens.ts";
import type { Pairs, SavedNetwork } from "./saved_network.ts";

type Named = [name: string, tensor: StoredTensor];

/** `trained`: has the scale of the logits, which a moving average lacks. */
export function openClipTensors(network: SavedNetwork, { projection }: Pairs, trained: SavedNetwork) {
  const trunk = [...network.parts("backbone")].map(([name, tensor]): Named => [`visual.trunk.${name}`, tensor]);
  const head = [...network.parts(projection.name)].map(
    ([name, tensor]): Named => [name.replace(projection.name, "visual.head.proj"), tensor],
  );
  return new Map([...trained.parts(OWN), ...trunk, ...head, ...[...network.parts(TEXT)].map(textTensor)]);
}

/** A tensor of the text tower: parameters that OpenCLIP has in no layer lose the layer's name, and their shape is its own. */
function textTensor([name, tensor]: Named): Named {
  if (name === "positional_embedding") return [name, { ...tensor, shape: tensor.shape.slice(1) }]; // [1,L,C] -> [L,C]
  if (name === "text_projection.weight") return ["text_projection", transposed(tensor)]; // x @ text_projection
  return [name.replace(".in_proj.", ".in_proj_"), tensor];
}

/** [rows,columns] -> [columns,rows] */
function transposed({ shape, data }: StoredTensor): StoredTensor {
  const [rows, columns] = shape as [number, number];
  const source = data as Float32Array;
  const values = new Float32Array(source.length);
  for (let i = 0; i < values.length; i++) values[i] = source[(i % rows) * columns + Math.floor(i / rows)] as number;
  return { shape: [columns, rows], data: values };
}

/**
 * Arguments of OpenCLIP's `CLIP`. Where it or timm has no such architecture (a ResNet for small images, a text tower that takes the mean of
 * its tokens), the configuration names one that they refuse: the tensors have their names, but no model of theirs computes our features.
 */
export function modelConfig(
  { augmentation, encoder: image }: PretrainSpec,
  { text: { encoder, dim } }: Pairs,
  channels: number,
  logitBias: StoredTensor | undefined,
): object {
  return {
    embed_dim: dim,
    vision_cfg: {
      image_size: augmentation.size,
      ...timmModel(image, augmentation.size, channels),
      timm_pool: isVit(image) && image.pool === "token" ? "token" : "avg",
      timm_proj: "linear",
    },
    text_cfg: textConfig(encoder),
    // Unless there is a first value, OpenCLIP's model has no bias.
    ...(logitBias && { init_logit_bias: logitBias.data[0] }),
  };
}

function textConfig({ tokens, context, width, heads, depth, causal }: TextEncoderSpec): object {
  return {
    context_length: context,
    vocab_size: vocabularyOf(tokens),
    width,
    heads,
    layers: depth,
    pad_id: PADDING,
    ...(causal ? { pool_type: "eos", eos_id: END } : { no_causal_mask: true, pool_type: "mean" }),
  };
}

interface TimmModel {
  timm_model_name: string;
  /** What the model of this name has otherwise. */
  timm_model_kwargs?: Record<string, unknown>;
}

function timmModel(encoder: EncoderSpec, side: number, channels: number): TimmModel {
  const [name, settings] = isVit(encoder) ? timmVit(encoder, side) : timmResnet(encoder);
  const kwargs = { ...settings, ...(channels !== 3 && { in_chans: channels }) };
  return { timm_model_name: name, ...(Object.keys(kwargs).length > 0 && { timm_model_kwargs: kwargs }) };
}

function timmResnet({ arch, stem, width }: ResnetSpec): [name: string, kwargs: object] {
  if (stem !== "imagenet" || width !== 64) return [`mocod_${arch}_${stem}_${width}`, {}];
  return arch === "resnet10" ? ["resnet18", { layers: [1, 1, 1, 1] }] : [arch, {}];
}

/** timm's, at 224 pixels with a class token. */
const timmVits = {
  "vit-tiny": { embed_dim: 192, depth: 12, num_heads: 3, patches: [16] },
  "vit-small": { embed_dim: 384, depth: 12, num_heads: 6, patches: [8, 16, 32] },
  "vit-base": { embed_dim: 768, depth: 12, num_heads: 12, patches: [8, 16, 32] },
  "vit-large": { embed_dim: 1024, depth: 24, num_heads: 16, patches: [16, 32] },
} as const;

function timmVit(encoder: VitSpec, side: number): [name: string, kwargs: object] {
  const { arch, patch, width, depth, heads, stem, position, pool, mlpNorm } = encoder;
  if (stem !== "patch" || mlpNorm !== "layer") return [`mocod_${arch}_${stem}_${mlpNorm}`, {}];
  const { patches, ...theirs } = timmVits[arch];
  const named = patches.find((one) => one === patch) ?? 16;
  const standard: Record<string, unknown> = { img_size: 224, patch_size: named, ...theirs };
  const ours = { img_size: side, patch_size: patch, embed_dim: width, depth, num_heads: heads };
  return [
    `${arch.replace("-", "_")}_patch${named}_224`,
    {
      ...Object.fromEntries(Object.entries(ours).filter(([key, value]) => value !== standard[key])),
      ...(position === "none" && { pos_embed: "none" }),
      // Its norm before the mean, not after it.
      ...(pool === "mean" && { class_token: false, global_pool: "avg", fc_norm: false }),
    },
  ];
}
