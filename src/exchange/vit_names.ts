/** torchvision's names of a Vision Transformer's tensors, from timm's, which ours are. */
import { isVit } from "../schema/encoder.ts";
import type { EncoderSpec } from "../schema/pretrain.ts";
import { UserError } from "../util/errors.ts";

const OUTER: Readonly<Record<string, string>> = {
  cls_token: "class_token",
  pos_embed: "encoder.pos_embedding",
  "patch_embed.proj": "conv_proj",
  norm: "encoder.ln",
};

const INNER: Readonly<Record<string, string>> = {
  norm1: "ln_1",
  "attn.qkv": "self_attention.in_proj",
  "attn.proj": "self_attention.out_proj",
  norm2: "ln_2",
  "mlp.fc1": "mlp.0",
  "mlp.fc2": "mlp.3",
};

/** @throws UserError where torchvision has no such architecture. */
export function expectTorchvision(spec: EncoderSpec): void {
  if (!isVit(spec)) return;
  for (const [field, wanted] of [
    ["stem", "patch"],
    ["pool", "token"],
    ["mlpNorm", "layer"],
  ] as const) {
    if (spec[field] === wanted) continue;
    throw new UserError(
      `spec.format: got "torchvision", allowed: "timm", "onnx"; torchvision has no ViT with encoder.${field} ${spec[field]}`,
    );
  }
  if (spec.position === "none") {
    throw new UserError(
      'spec.format: got "torchvision", allowed: "timm", "onnx"; torchvision\'s ViT adds positions, and encoder.position is none',
    );
  }
}

/** torchvision's name -> timm's; undefined for the classifier. */
export function timmName(name: string): string | undefined {
  const [, block, rest = name] = /^encoder\.layers\.encoder_layer_(\d+)\.(.*)$/.exec(name) ?? [];
  // Releases before 0.14 name the layers of the MLP.
  const inner = rest
    .replace("mlp.linear_1.", "mlp.0.")
    .replace("mlp.linear_2.", "mlp.3.")
    .replace("in_proj_", "in_proj.");
  const found = Object.entries(block === undefined ? OUTER : INNER).find(
    ([, theirs]) => inner === theirs || inner.startsWith(`${theirs}.`),
  );
  if (!found) return undefined;
  const own = found[0] + inner.slice(found[1].length);
  return block === undefined ? own : `blocks.${block}.${own}`;
}

/** `blocks.0.attn.qkv.weight` -> `encoder.layers.encoder_layer_0.self_attention.in_proj_weight` */
export function torchvisionName(name: string): string {
  const [, block, inner = name] = /^blocks\.(\d+)\.(.*)$/.exec(name) ?? [];
  const end = inner.lastIndexOf(".");
  const [layer, kind] =
    block === undefined && !inner.includes(".") ? [inner, ""] : [inner.slice(0, end), inner.slice(end)];
  const known = (block === undefined ? OUTER : INNER)[layer];
  if (known === undefined) throw new Error(`${name} is no tensor of a ViT`);
  // in_proj_weight and in_proj_bias are parameters of the attention itself.
  const own = known.endsWith("in_proj") ? `${known}_${kind.slice(1)}` : known + kind;
  return block === undefined ? own : `encoder.layers.encoder_layer_${block}.${own}`;
}
