/**
 * Train state <-> safetensors, with the names and layouts of facebookresearch/moco's checkpoints:
 * `module.encoder_q.layer1.0.conv1.weight` (OIHW), `module.queue` [C, K], `module.queue_ptr`.
 */

import { fromTorch, type Layout, torchShape, toTorch } from "../nn/layout.ts";
import type { Encoder } from "../nn/resnet.ts";
import type { PretrainSpec } from "../spec/pretrain.ts";
import { decodeSafetensors, encodeSafetensors, type StoredTensor } from "../store/safetensors.ts";
import { expectShape, FileError } from "../util/errors.ts";
import type { Position, TrainState } from "./state.ts";

const FORMAT = "mocod-checkpoint-1";

function groups(encoder: Encoder, state: TrainState): [prefix: string, layout: Layout, values: Float32Array][] {
  return [
    ["module.encoder_q.", encoder.params, state.queryParams],
    ["module.encoder_q.", encoder.stats, state.queryStats],
    ["module.encoder_k.", encoder.params, state.keyParams],
    ["module.encoder_k.", encoder.stats, state.keyStats],
    ["optimizer.momentum_buffer.", encoder.params, state.velocity],
  ];
}

export function encodeCheckpoint(
  spec: PretrainSpec,
  encoder: Encoder,
  state: TrainState,
  position: Position,
): Uint8Array {
  const tensors = new Map<string, StoredTensor>();
  for (const [prefix, layout, values] of groups(encoder, state)) {
    for (const { name, shape, offset, size } of layout.entries) {
      tensors.set(prefix + name, {
        shape: torchShape(shape),
        data: toTorch(shape, values.subarray(offset, offset + size)),
      });
      if (name.endsWith("running_var")) {
        const counter = prefix + name.replace("running_var", "num_batches_tracked");
        tensors.set(counter, { shape: [], data: BigInt64Array.of(BigInt(position.step)) });
      }
    }
  }
  const queueShape = [spec.queueSize, spec.dim];
  tensors.set("module.queue", { shape: torchShape(queueShape), data: toTorch(queueShape, state.queue) });
  tensors.set("module.queue_ptr", { shape: [1], data: BigInt64Array.of(BigInt(position.queuePointer)) });
  return encodeSafetensors(tensors, {
    format: FORMAT,
    spec: JSON.stringify(spec),
    position: JSON.stringify(position),
  });
}

/** Fills `state` and returns where the run stands. Throws FileError when a tensor is missing or misshapen. */
export function restoreCheckpoint(
  bytes: Uint8Array,
  file: string,
  spec: PretrainSpec,
  encoder: Encoder,
  state: TrainState,
): Position {
  const { tensors, metadata } = decodeSafetensors(bytes, file);
  if (metadata.format !== FORMAT) throw new FileError(file, `format ${FORMAT} expected, got ${metadata.format}`);
  const read = (name: string, shape: readonly number[]): Float32Array => {
    const stored = tensors.get(name);
    if (!(stored?.data instanceof Float32Array)) throw new FileError(file, `tensor ${name} is missing`);
    expectShape(`${file}: ${name}`, stored.shape, torchShape(shape));
    return fromTorch(shape, stored.data);
  };
  for (const [prefix, layout, values] of groups(encoder, state)) {
    for (const { name, shape, offset } of layout.entries) values.set(read(prefix + name, shape), offset);
  }
  state.queue.set(read("module.queue", [spec.queueSize, spec.dim]));
  return JSON.parse(metadata.position ?? "{}") as Position;
}
