/** In and out of PyTorch: what a run gives to others, and what it takes of facebookresearch/moco's files. */

import { allocateModel, startPosition } from "../engine/state.ts";
import type { Encoder } from "../nn/encoders/resnet.ts";
import { encodeOnnx } from "../nn/onnx.ts";
import type { ExportFormat } from "../schema/evaluation.ts";
import { parseSpec } from "../schema/job.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import type { PickleValue } from "../store/pickle.ts";
import { decodeSafetensors, encodeSafetensors, type StoredTensor } from "../store/safetensors.ts";
import { readTorchFile } from "../store/torch_file.ts";
import { encodeCheckpoint, readLayout, readTensor, type Tensors } from "../train/checkpoint.ts";
import { FileError } from "../util/errors.ts";
import { inferEncoder } from "./infer.ts";

const [QUERY, KEY] = ["module.encoder_q.", "module.encoder_k."] as const;

/**
 * - `torchvision`: safetensors of the backbone with torchvision's names, for `load_state_dict(strict=True)` into a
 *   `torchvision.models.resnet*` whose `fc` is `nn.Identity()`.
 * - `moco`: safetensors with facebookresearch/moco's names: both encoders with their heads, the queue.
 * - `onnx`: the backbone in evaluation mode; input f32[N,C,S,S] of normalised pixels, output f32[N,F].
 */
export function exportCheckpoint(
  bytes: Uint8Array,
  file: string,
  spec: PretrainSpec,
  format: ExportFormat,
  which: "query" | "key",
): Uint8Array {
  const { tensors } = decodeSafetensors(bytes, file);
  const metadata = { source: "mocod", spec: JSON.stringify(spec) };
  if (format === "moco") {
    return encodeSafetensors(new Map([...tensors].filter(([name]) => name.startsWith("module."))), metadata);
  }
  const prefix = which === "query" ? QUERY : KEY;
  const backbone = [...tensors].flatMap(([name, tensor]): [string, StoredTensor][] => {
    const own = name.startsWith(prefix) ? name.slice(prefix.length) : "fc.";
    return own.startsWith("fc.") ? [] : [[own, tensor]];
  });
  if (backbone.length === 0) throw new FileError(file, `holds no tensor ${prefix}…`);
  return format === "onnx"
    ? encodeOnnx(spec.encoder, new Map(backbone))
    : encodeSafetensors(new Map(backbone), metadata);
}

export const exportedName = (id: string, format: ExportFormat): string =>
  `${id}.${format === "onnx" ? "onnx" : `${format}.safetensors`}`;

export interface Imported {
  readonly spec: PretrainSpec;
  readonly epochs: number;
  /** A checkpoint of ours. */
  readonly checkpoint: Uint8Array;
}

/**
 * Reads facebookresearch/moco's `checkpoint_*.pth.tar` or `moco_v*_pretrain.pth.tar` (or the same names in
 * safetensors). `given` is what such a file does not say: the dataset, the side of the images.
 * Throws FileError that names the tensor, what was expected and what was got.
 */
export function importMoco(bytes: Uint8Array, file: string, given: object): Imported {
  const { tensors, epochs } = file.endsWith(".safetensors")
    ? { tensors: decodeSafetensors(bytes, file).tensors, epochs: 0 }
    : stateDict(bytes, file);
  const inferred = inferEncoder(tensors, file);
  const method = inferred.head === "mlp" ? "moco-v2" : "moco-v1";
  const spec = parseSpec("pretrain", {
    ...{ preset: "imagenet", method, ...given, epochs: Math.max(1, epochs) },
    ...{ encoder: inferred.encoder, head: inferred.head, dim: inferred.dim, queueSize: inferred.queueSize },
    ...batchBelow(inferred.queueSize),
  });
  const { encoder, state } = allocateModel(spec, inferred.channels, 1);
  readEncoder(tensors, file, QUERY, encoder, state.queryParams, state.queryStats);
  // The published weights hold the query encoder alone.
  const key = tensors.has(`${KEY}conv1.weight`) ? KEY : QUERY;
  readEncoder(tensors, file, key, encoder, state.keyParams, state.keyStats);
  const position = startPosition();
  if (tensors.has("module.queue")) {
    state.queue.set(readTensor(tensors, file, "module.queue", [spec.queueSize, spec.dim]));
    position.queuePointer = Number(tensors.get("module.queue_ptr")?.data[0] ?? 0);
    if (!(position.queuePointer >= 0 && position.queuePointer < spec.queueSize)) {
      throw new FileError(file, `module.queue_ptr: expected 0 to ${spec.queueSize - 1}, got ${position.queuePointer}`);
    }
  }
  return { spec, epochs, checkpoint: encodeCheckpoint(spec, encoder, state, position) };
}

/** The file does not say its batch; the preset's 256 needs a queue that is not shorter. */
function batchBelow(queueSize: number): object {
  if (queueSize >= 256) return {};
  return queueSize >= 16 ? { batchSize: queueSize - (queueSize % 8), splits: 8 } : { batchSize: queueSize, splits: 1 };
}

function readEncoder(
  tensors: Tensors,
  file: string,
  prefix: string,
  encoder: Encoder,
  params: Float32Array,
  stats: Float32Array,
): void {
  readLayout(tensors, file, prefix, encoder.params, params);
  readLayout(tensors, file, prefix, encoder.stats, stats);
}

/** The `state_dict` of a file of torch.save, and its epoch. */
function stateDict(bytes: Uint8Array, file: string): { tensors: Tensors; epochs: number } {
  const torch = readTorchFile(bytes, file);
  const field = (value: PickleValue, name: string) => (value instanceof Map ? value.get(name) : undefined);
  const dict = field(torch.value, "state_dict") ?? torch.value;
  if (!(dict instanceof Map)) throw new FileError(file, "is not a checkpoint: it holds no dict of tensors");
  const tensors: Tensors = new Map();
  for (const [name, value] of dict) {
    if (typeof name === "string" && typeof value === "object" && value && "kind" in value && value.kind === "tensor") {
      tensors.set(name, torch.tensor(value));
    }
  }
  return { tensors, epochs: Number(field(torch.value, "epoch") ?? 0) };
}
