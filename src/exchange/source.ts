/** A file of tensors that somebody else wrote: a `state_dict` of PyTorch, in torch.save's formats or in safetensors. */
import type { PretrainSpec } from "../schema/pretrain.ts";
import type { PickleValue } from "../store/pickle.ts";
import { decodeSafetensors } from "../store/safetensors.ts";
import { readTorchFile } from "../store/torch_file.ts";
import type { Tensors } from "../train/checkpoint.ts";
import { FileError } from "../util/errors.ts";

export interface Source {
  readonly file: string;
  readonly tensors: Tensors;
  /** That were trained, as far as the file says. */
  readonly epochs: number;
  /** The method of a checkpoint of ours; undefined: it is somebody else's. */
  readonly method: string | undefined;
}

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
  /** Positions of another grid are resized to that of the images; unset: they are refused. */
  readonly interpolate?: boolean | undefined;
}

/** @throws FileError where it is neither format, is damaged, or holds no tensors. */
export function readSource(bytes: Uint8Array, file: string): Source {
  if (!file.endsWith(".safetensors")) return { file, method: undefined, ...stateDict(bytes, file) };
  const { tensors, metadata } = decodeSafetensors(bytes, file);
  const { method } = JSON.parse(metadata.spec ?? "{}") as { method?: string };
  return { file, tensors, epochs: 0, method };
}

/** The `state_dict` of a file of torch.save, and its epoch; some files hold the dict alone, others name it `model`. */
function stateDict(bytes: Uint8Array, file: string): { tensors: Tensors; epochs: number } {
  const torch = readTorchFile(bytes, file);
  const field = (value: PickleValue, name: string) => (value instanceof Map ? value.get(name) : undefined);
  const dict = field(torch.value, "state_dict") ?? field(torch.value, "model") ?? torch.value;
  if (!(dict instanceof Map)) throw new FileError(file, "is not a checkpoint: it holds no dict of tensors");
  const tensors: Tensors = new Map();
  for (const [name, value] of dict) {
    if (typeof name === "string" && typeof value === "object" && value && "kind" in value && value.kind === "tensor") {
      tensors.set(name, torch.tensor(value));
    }
  }
  return { tensors, epochs: Number(field(torch.value, "epoch") ?? 0) };
}

/** A tensor's name without what wrappers put before it. */
export const bareName = (name: string): string => name.replace(/^(?:module\.|model\.|backbone\.)*/, "");

/** First parts of the tensors' names, as they are found: to tell what a file is. */
export function prefixesOf(tensors: Tensors): string {
  const first = [...tensors.keys()].map((name) =>
    name
      .split(".")
      .slice(0, name.startsWith("module.") ? 2 : 1)
      .join("."),
  );
  const found = [...new Set(first)];
  return found.length > 8 ? `${found.slice(0, 8).join(", ")}, …` : found.join(", ");
}
