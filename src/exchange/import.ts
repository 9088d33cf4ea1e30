/** Checkpoints and weights of others, as checkpoints of ours: what a file is shows by its tensors' names. */
import type { PretrainSpec } from "../schema/pretrain.ts";
import { FileError } from "../util/errors.ts";
import { importBackbone } from "./import_backbone.ts";
import { importMoco, QUERY } from "./import_moco.ts";
import { BASE, importMocoV3 } from "./import_moco_v3.ts";
import { prefixesOf, readSource, type Source } from "./source.ts";

export interface Imported {
  readonly spec: PretrainSpec;
  readonly epochs: number;
  /** A checkpoint of ours. */
  readonly checkpoint: Uint8Array;
}

/** What a file does not say. */
export interface Given {
  /** Fields of the spec: the dataset, `augmentation.size`; of a file of weights also the method. */
  readonly fields: object;
  /** Side of the images. */
  readonly side: number;
  /** Of a ViT whose width is none of the named ones'. */
  readonly heads?: number | undefined;
}

/**
 * Reads a checkpoint of facebookresearch/moco or moco-v3, or the weights of a ResNet or ViT of torchvision or timm; in torch.save's
 * formats or safetensors.
 * @throws FileError that says which tensor is missing or misshapen, or what was found in the place of what is known.
 */
export function importCheckpoint(bytes: Uint8Array, file: string, given: Given): Imported {
  const source = readSource(bytes, file);
  const has = (start: string) => [...source.tensors.keys()].some((name) => name.startsWith(start));
  if (has(QUERY)) return importMoco(source, given);
  if (has(BASE)) return importMocoV3(source, given);
  if (["conv1.weight", "patch_embed.", "conv_proj.weight"].some((start) => hasBare(source, start))) {
    return importBackbone(source, given);
  }
  throw new FileError(
    file,
    `its tensors begin with ${prefixesOf(source.tensors) || "nothing"}; expected ${QUERY} (MoCo v1, v2), ${BASE} (MoCo v3), or ` +
      "conv1, patch_embed or conv_proj (weights of a ResNet or ViT)",
  );
}

const hasBare = ({ tensors }: Source, start: string): boolean =>
  [...tensors.keys()].some((name) => name.replace(/^(?:module\.|model\.|backbone\.)*/, "").startsWith(start));
