/** Which encoder a file holds, read off its tensors' names and shapes. */

import { resnetNames } from "../nn/encoders/index.ts";
import { sincosPositions } from "../nn/encoders/vit.ts";
import { buildNetwork } from "../nn/network.ts";
import { type ResnetSpec, type VitSpec, vits } from "../schema/encoder.ts";
import type { EncoderSpec } from "../schema/pretrain.ts";
import type { Tensors } from "../train/checkpoint.ts";
import { FileError } from "../util/errors.ts";
import { stemStride } from "./positions.ts";

export interface Inferred<Spec = EncoderSpec> {
  readonly encoder: Spec;
  readonly channels: number;
}

/** The tensors of one encoder: those whose names begin with `prefix`. `side` of its input images. */
export interface EncoderFile {
  readonly tensors: Tensors;
  readonly file: string;
  readonly prefix: string;
  readonly side: number;
  /** Heads of a ViT, which no file says. Unset: those of the named ViT of its width. */
  readonly heads?: number | undefined;
}

const shapeIn = ({ tensors, prefix, file }: EncoderFile, name: string, what: string): readonly number[] => {
  const shape = tensors.get(prefix + name)?.shape;
  if (!shape) throw new FileError(file, `tensor ${prefix}${name}: expected f32, got none: not ${what}`);
  return shape;
};

/** @throws FileError that names the tensor which is missing, or the shape that fits no encoder of ours. */
export function inferEncoder(of: EncoderFile, what: string): Inferred {
  return [...of.tensors.keys()].some((name) => name.startsWith(`${of.prefix}patch_embed.`))
    ? inferVit(of, what)
    : inferResnet(of, what);
}

/** As `inferEncoder`. */
export function inferResnet(of: EncoderFile, what: string): Inferred<ResnetSpec> {
  const { tensors, prefix, file } = of;
  const [width, channels, size] = shapeIn(of, "conv1.weight", what) as [number, number, number];
  if (size !== 3 && size !== 7) {
    throw new FileError(file, `tensor ${prefix}conv1.weight: expected a kernel of 3 or 7, got ${size}`);
  }
  const stem = size === 3 ? ("cifar" as const) : ("imagenet" as const);
  const own = [...tensors.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  const convolutions = (names: readonly string[]) => names.filter((name) => /conv\d\.weight$/.test(name)).sort();
  const present = convolutions(own).join();
  // The one with just these convolutions; what else is missing is named when it is read.
  const arch = resnetNames.find((candidate) => {
    const { params } = buildNetwork({ arch: candidate, stem, width }, channels, of.side);
    return convolutions(params.entries.map(({ name }) => name)).join() === present;
  });
  if (!arch) {
    const blocks = [1, 2, 3, 4].map(
      (layer) => own.filter((name) => name.match(`^layer${layer}\\.\\d+\\.conv1\\.weight`)).length,
    );
    const kind = tensors.has(`${prefix}layer1.0.conv3.weight`) ? "bottleneck" : "basic";
    throw new FileError(file, `its blocks [${blocks}] (${kind}) are none of ${resnetNames.join(", ")}`);
  }
  return { encoder: { arch, width, stem }, channels };
}

function inferVit(of: EncoderFile, what: string): Inferred<VitSpec> {
  const { tensors, prefix, file, side } = of;
  const has = (name: string) => tensors.has(prefix + name);
  const stem = has("patch_embed.proj.0.weight") ? ("conv" as const) : ("patch" as const);
  const projection = shapeIn(of, stem === "conv" ? "patch_embed.proj.0.weight" : "patch_embed.proj.weight", what);
  const [width] = shapeIn(of, "norm.weight", what) as [number];
  const patch = stem === "conv" ? stemStride((name) => tensors.get(prefix + name)?.shape) : (projection[2] as number);
  const depth = [...tensors.keys()].filter((name) =>
    /^blocks\.\d+\.norm1\.weight$/.test(name.slice(prefix.length)),
  ).length;
  const named = Object.entries(vits).find(([, vit]) => vit.width === width);
  const heads = of.heads ?? named?.[1].heads;
  if (heads === undefined || width % heads !== 0) {
    throw new FileError(
      file,
      `its ViT of width ${width} ${heads === undefined ? "is none of the named ones: give its number of heads" : `cannot have ${heads} heads`}`,
    );
  }
  const token = has("cls_token");
  return {
    channels: projection[1] as number,
    encoder: {
      arch: (named?.[0] ?? "vit-tiny") as VitSpec["arch"],
      patch,
      width,
      depth,
      heads,
      stem,
      freezePatches: false,
      position: has("pos_embed") ? positionOf(of, { side, patch, width, token }) : "none",
      pool: token ? "token" : "mean",
      mlpNorm: has("blocks.0.norm2.running_mean") ? "batch" : "layer",
    },
  };
}

/** @throws FileError where the positions are of another grid than these images have. */
function positionOf(
  { tensors, file, prefix }: EncoderFile,
  of: { side: number; patch: number; width: number; token: boolean },
): "sincos" | "learned" {
  const { side, patch, width, token } = of;
  const stored = tensors.get(`${prefix}pos_embed`);
  const count = stored?.shape[1] ?? 0;
  if (side % patch !== 0) {
    throw new FileError(file, `has patches of ${patch} pixels: images of side ${side} are no multiple of them`);
  }
  const grid = side / patch;
  const first = token ? 1 : 0;
  if (count !== grid * grid + first) {
    const theirs = Math.sqrt(count - first);
    const right = Number.isInteger(theirs) ? `images of side ${theirs * patch}` : "a class token or none";
    throw new FileError(
      file,
      `tensor ${prefix}pos_embed: got ${count} positions, expected ${grid * grid + first} for images of side ${side}: they are of ${right}` +
        (Number.isInteger(theirs) ? "; they can be resized (--interpolate)" : ""),
    );
  }
  if (width % 4 !== 0) return "learned";
  const fixed = sincosPositions(width, grid, token);
  return fixed.every((v, i) => Math.abs(v - Number(stored?.data[i])) < 1e-5) ? "sincos" : "learned";
}
