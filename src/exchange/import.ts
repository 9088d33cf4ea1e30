/** Checkpoints and weights of others, as checkpoints of ours: what a file is shows by its tensors' names. */
import { FileError } from "../util/errors.ts";
import { importBackbone } from "./import_backbone.ts";
import { importMoco, QUERY } from "./import_moco.ts";
import { BASE, importMocoV3 } from "./import_moco_v3.ts";
import { bareName, type Given, type Imported, prefixesOf, readSource, type Source } from "./source.ts";

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
  [...tensors.keys()].some((name) => bareName(name).startsWith(start));
