/** What is taken of facebookresearch/moco's files. */
import { startPosition } from "../engine/metrics.ts";
import { allocateModel, blockNames, floatsOf, intsOf } from "../engine/state.ts";
import type { Network } from "../nn/network.ts";
import { parseSpec } from "../schema/job.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import type { PickleValue } from "../store/pickle.ts";
import { decodeSafetensors } from "../store/safetensors.ts";
import { readTorchFile } from "../store/torch_file.ts";
import { encodeCheckpoint, readLayout, readTensor, type Tensors } from "../train/checkpoint.ts";
import { FileError } from "../util/errors.ts";
import { inferEncoder } from "./infer.ts";

const [QUERY, KEY] = ["module.encoder_q.", "module.encoder_k."] as const;

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
    ? { tensors: mocoTensors(bytes, file), epochs: 0 }
    : stateDict(bytes, file);
  const inferred = inferEncoder(tensors, file);
  const method = inferred.head === "mlp" ? "moco-v2" : "moco-v1";
  const spec = parseSpec("pretrain", {
    preset: "imagenet",
    method,
    ...given,
    epochs: Math.max(1, epochs),
    encoder: inferred.encoder,
    head: inferred.head,
    dim: inferred.dim,
    queueSize: inferred.queueSize,
    ...batchBelow(inferred.queueSize),
  });
  const model = allocateModel(spec, inferred.channels, 1);
  const { networks, state } = model;
  const read = (prefix: string, network: string) =>
    readNetwork(
      tensors,
      file,
      prefix,
      networks.get(network),
      floatsOf(state, blockNames.params(network)),
      floatsOf(state, blockNames.stats(network)),
    );
  read(QUERY, networks.trained);
  // The published weights hold the query encoder alone.
  for (const average of networks.followers) read(tensors.has(`${KEY}conv1.weight`) ? KEY : QUERY, average);
  const position = startPosition(spec, ["queue"]);
  intsOf(state, blockNames.ringIds("queue")).fill(-1);
  if (tensors.has("module.queue")) {
    const { queueSize, dim } = inferred;
    const rows = readTensor(tensors, file, "module.queue", { shape: [queueSize, dim], axes: "linear" });
    floatsOf(state, blockNames.ring("queue")).set(rows);
    const pointer = Number(tensors.get("module.queue_ptr")?.data[0] ?? 0);
    if (!(pointer >= 0 && pointer < queueSize)) {
      throw new FileError(file, `module.queue_ptr: expected 0 to ${queueSize - 1}, got ${pointer}`);
    }
    position.pointers.queue = pointer;
  }
  return { spec, epochs, checkpoint: encodeCheckpoint(model, position) };
}

/** @throws FileError for a checkpoint of ours that is of another method. */
function mocoTensors(bytes: Uint8Array, file: string): Tensors {
  const { tensors, metadata } = decodeSafetensors(bytes, file);
  const { method = "moco-v2" } = JSON.parse(metadata.spec ?? "{}") as { method?: string };
  if (!method.startsWith("moco-")) throw new FileError(file, `is of method ${method}, expected a file of MoCo`);
  return tensors;
}

/** The file does not say its batch; the preset's 256 needs a queue that is not shorter. */
function batchBelow(queueSize: number): object {
  if (queueSize >= 256) return {};
  return queueSize >= 16 ? { batchSize: queueSize - (queueSize % 8), splits: 8 } : { batchSize: queueSize, splits: 1 };
}

function readNetwork(
  tensors: Tensors,
  file: string,
  prefix: string,
  network: Network,
  params: Float32Array,
  stats: Float32Array,
): void {
  readLayout(tensors, file, prefix, network.params, params);
  readLayout(tensors, file, prefix, network.stats, stats);
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
