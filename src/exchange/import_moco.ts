/** What is taken of facebookresearch/moco's files. */
import { startPosition } from "../engine/metrics.ts";
import { allocateModel, blockNames, floatsOf, intsOf } from "../engine/state.ts";
import { parseSpec } from "../schema/job.ts";
import { encodeCheckpoint, readTensor } from "../train/checkpoint.ts";
import { FileError } from "../util/errors.ts";
import { inferResnet } from "./infer.ts";
import { readNetwork } from "./network.ts";
import type { Given, Imported, Source } from "./source.ts";

export const QUERY = "module.encoder_q.";
const KEY = "module.encoder_k.";

/**
 * `checkpoint_*.pth.tar` or `moco_v*_pretrain.pth.tar` (or the same names in safetensors).
 * @throws FileError that names the tensor, what was expected and what was got.
 */
export function importMoco(source: Source, { fields, side }: Given): Imported {
  const { tensors, file, epochs, method: written = "moco-v2" } = source;
  if (!written.startsWith("moco-v")) throw new FileError(file, `is of method ${written}, expected a file of MoCo`);
  const { encoder, channels } = inferResnet({ tensors, file, prefix: QUERY, side }, "a checkpoint of MoCo");
  const head = tensors.has(`${QUERY}fc.2.weight`) ? "mlp" : "linear";
  const last = `${QUERY}${head === "mlp" ? "fc.2.weight" : "fc.weight"}`;
  const dim = tensors.get(last)?.shape[0];
  if (dim === undefined) {
    throw new FileError(file, `tensor ${last}: expected f32, got none: not a checkpoint of MoCo`);
  }
  const queueSize = tensors.get("module.queue")?.shape[1] ?? 65_536;
  const spec = parseSpec("pretrain", {
    preset: "imagenet",
    method: head === "mlp" ? "moco-v2" : "moco-v1",
    ...fields,
    epochs: Math.max(1, epochs),
    encoder,
    head,
    dim,
    queueSize,
    ...batchBelow(queueSize),
  });
  const model = allocateModel(spec, channels, 1);
  const { networks, state } = model;
  readNetwork(model, networks.trained, source, ({ name }) => QUERY + name);
  // The published weights hold the query encoder alone.
  const key = tensors.has(`${KEY}conv1.weight`) ? KEY : QUERY;
  for (const average of networks.followers) readNetwork(model, average, source, ({ name }) => key + name);
  const position = startPosition(spec, ["queue"]);
  intsOf(state, blockNames.ringIds("queue")).fill(-1);
  if (tensors.has("module.queue")) {
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

/** The file does not say its batch; the preset's 256 needs a queue that is not shorter. */
function batchBelow(queueSize: number): object {
  if (queueSize >= 256) return {};
  return queueSize >= 16 ? { batchSize: queueSize - (queueSize % 8), splits: 8 } : { batchSize: queueSize, splits: 1 };
}
