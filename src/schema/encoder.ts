/** Which encoders there are, as specs: ResNets and Vision Transformers, each with its own fields. */
import { z } from "zod";

const resnetSpec = z.strictObject({
  arch: z.enum(["resnet10", "resnet18", "resnet34", "resnet50"]),
  stem: z.enum(["cifar", "imagenet"]).describe("cifar: 3x3 stride 1; imagenet: 7x7 stride 2 and max-pool"),
  width: z.int().min(4).max(256).describe("channels of the first stage; 64 is the standard"),
  zeroInit: z
    .boolean()
    .optional()
    .describe(
      "true: the last norm of each block starts with a gain of 0, so that the block begins as an identity (Goyal et al. 2017)",
    ),
});
export type ResnetSpec = z.infer<typeof resnetSpec>;

/** MoCo v3's vits.py; its ViT-S has 12 heads, where DeiT's has 6. */
export const vits = {
  "vit-tiny": { width: 192, depth: 12, heads: 3 },
  "vit-small": { width: 384, depth: 12, heads: 12 },
  "vit-base": { width: 768, depth: 12, heads: 12 },
  "vit-large": { width: 1024, depth: 24, heads: 16 },
} as const;

const vitSpec = z.strictObject({
  arch: z
    .enum(Object.keys(vits) as [keyof typeof vits, ...(keyof typeof vits)[]])
    .describe("sets width, depth and heads, unless they are given"),
  patch: z.int().min(1).max(64).describe("side of a patch in pixels, which divides augmentation.size"),
  width: z.int().min(4).max(4096).describe("dimension of a token, a multiple of heads"),
  depth: z.int().min(1).max(64).describe("blocks"),
  heads: z.int().min(1).max(64),
  stem: z
    .enum(["patch", "conv"])
    .describe(
      "patch: one linear projection; conv: 3x3 convolutions of stride 2 (Xiao et al. 2021), four of them for patch 16",
    ),
  freezePatches: z
    .boolean()
    .describe("keep the random patch projection, which is more stable (Chen et al. 2021, section 4.2)"),
  position: z.enum(["sincos", "learned", "none"]).describe("sincos: fixed, in two dimensions; width a multiple of 4"),
  pool: z.enum(["token", "mean"]).describe("token: features are the class token's; mean: the mean of all tokens"),
  mlpNorm: z.enum(["layer", "batch"]).describe("norm before the MLP of a block; batch: ViT-BN"),
  dropPath: z
    .number()
    .min(0)
    .lt(1)
    .optional()
    .describe(
      "stochastic depth of the trained network: share of images that skip the last block, in earlier ones fewer; unset: 0",
    ),
});
export type VitSpec = z.infer<typeof vitSpec>;

export const encoderSpec = z.discriminatedUnion("arch", [resnetSpec, vitSpec]);
export type EncoderSpec = z.infer<typeof encoderSpec>;

/** Every `encoder.arch`. */
export const encoderNames: readonly EncoderSpec["arch"][] = [
  ...resnetSpec.shape.arch.options,
  ...vitSpec.shape.arch.options,
];

export const isVit = (spec: EncoderSpec): spec is VitSpec => spec.arch in vits;

/** A named ViT for images of this side. */
export const vitDefaults = (arch: keyof typeof vits, side: number): VitSpec => ({
  arch,
  patch: side < 128 ? 4 : 16,
  ...vits[arch],
  stem: "patch",
  freezePatches: true,
  position: "sincos",
  pool: "token",
  mlpNorm: "layer",
});

/** The side by which an encoder divides an image before its last stage. */
export const strideOf = (encoder: EncoderSpec): number =>
  isVit(encoder) ? encoder.patch : encoder.stem === "cifar" ? 8 : 32;

/** The divisor of `side` that is next to `patch` within a factor of 2, the smaller of two; where there is none, `patch`. */
function patchFor(patch: number, side: number): number {
  const near = Array.from({ length: 2 * patch }, (_, i) => i + 1).filter((of) => side % of === 0 && 2 * of >= patch);
  return near.reduce((best, of) => (Math.abs(of - patch) < Math.abs(best - patch) ? of : best), near[0] ?? patch);
}

/**
 * The encoder that a request's own fields go over. Where it names a ViT: that one, for views of this side; a ResNet in the place of
 * the preset's ViT: a ResNet for this side; none: the preset's, a ViT with the patch next to its own that divides the side.
 */
export function encoderBase(preset: EncoderSpec, arch: unknown, side: number): EncoderSpec {
  if (typeof arch !== "string") {
    return isVit(preset) ? { ...preset, patch: patchFor(preset.patch, side) } : preset;
  }
  if (arch in vits) return vitDefaults(arch as keyof typeof vits, side);
  if (!isVit(preset)) return preset;
  return { arch: "resnet18", stem: side < 128 ? "cifar" : "imagenet", width: 64 };
}
