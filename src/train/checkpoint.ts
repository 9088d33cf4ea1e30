/**
 * Train state <-> safetensors, with the names and layouts of facebookresearch/moco's checkpoints:
 * `module.encoder_q.layer1.0.conv1.weight` (OIHW), `module.queue` [C, K], `module.queue_ptr`.
 */

import type { Position, TrainState } from "../engine/state.ts";
import type { Encoder } from "../nn/encoders/resnet.ts";
import { fromTorch, type Layout, torchShape, toTorch } from "../nn/layout.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import { decodeSafetensors, encodeSafetensors, type StoredTensor, type ToStore } from "../store/safetensors.ts";
import { FileError } from "../util/errors.ts";

const FORMAT = "mocod-checkpoint-3";

/** How the position of an older format becomes that of this one. A format that is not here is refused. */
const migrations: Record<string, (position: Position) => Position> = {
  [FORMAT]: (position) => position,
  // Had no series: an epoch that was begun by such a version has its first steps in no file.
  "mocod-checkpoint-2": (position) => ({ ...position, series: [] }),
};

export type Tensors = Map<string, StoredTensor>;

function groups(encoder: Encoder, state: TrainState): [prefix: string, layout: Layout, values: Float32Array][] {
  const moments: [string, Layout, Float32Array][] = [
    ["optimizer.momentum_buffer.", encoder.params, state.velocity],
    ["optimizer.exp_avg_sq.", encoder.params, state.second],
  ];
  return [
    ["module.encoder_q.", encoder.params, state.queryParams],
    ["module.encoder_q.", encoder.stats, state.queryStats],
    ["module.encoder_k.", encoder.params, state.keyParams],
    ["module.encoder_k.", encoder.stats, state.keyStats],
    ...moments.filter(([, , values]) => values.length > 0),
  ];
}

/** Adds a layout's tensors in PyTorch's order of axes, and the step counter that its batch norms keep. */
export function addLayout(to: ToStore, prefix: string, layout: Layout, values: Float32Array, step: number): void {
  for (const { name, shape, offset, size } of layout.entries) {
    const make = () => toTorch(shape, values.subarray(offset, offset + size));
    to.set(prefix + name, { shape: torchShape(shape), make });
    if (!name.endsWith("running_var")) continue;
    const counter = prefix + name.replace("running_var", "num_batches_tracked");
    to.set(counter, { shape: [], data: BigInt64Array.of(BigInt(step)) });
  }
}

/** Throws FileError that names the tensor which is missing or has another shape. */
export function readTensor(tensors: Tensors, file: string, name: string, shape: readonly number[]): Float32Array {
  const stored = tensors.get(name);
  const expected = torchShape(shape);
  if (!(stored?.data instanceof Float32Array)) {
    throw new FileError(file, `tensor ${name}: expected f32 [${expected}], got ${stored ? "integers" : "none"}`);
  }
  if (stored.shape.join() !== expected.join()) {
    throw new FileError(file, `tensor ${name}: expected shape [${expected}], got [${stored.shape}]`);
  }
  return fromTorch(shape, stored.data);
}

export function readLayout(tensors: Tensors, file: string, prefix: string, layout: Layout, values: Float32Array): void {
  for (const { name, shape, offset } of layout.entries) {
    values.set(readTensor(tensors, file, prefix + name, shape), offset);
  }
}

/** `into`: see `encodeSafetensors`. */
export function encodeCheckpoint(
  spec: PretrainSpec,
  encoder: Encoder,
  state: TrainState,
  position: Position,
  into?: Uint8Array,
): Uint8Array {
  const tensors: ToStore = new Map();
  for (const [prefix, layout, values] of groups(encoder, state)) {
    addLayout(tensors, prefix, layout, values, position.step);
  }
  const queueShape = [spec.queueSize, spec.dim];
  tensors.set("module.queue", { shape: torchShape(queueShape), make: () => toTorch(queueShape, state.queue) });
  tensors.set("module.queue_ptr", { shape: [1], data: BigInt64Array.of(BigInt(position.queuePointer)) });
  const ids = BigInt64Array.from(state.queueIds, BigInt);
  tensors.set("queue_ids", { shape: [spec.queueSize], data: ids });
  const metadata = { format: FORMAT, spec: JSON.stringify(spec), position: JSON.stringify(position) };
  return encodeSafetensors(tensors, metadata, into);
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
  const migrate = migrations[metadata.format ?? ""];
  if (!migrate) {
    const known = Object.keys(migrations).join(" or ");
    throw new FileError(file, `format ${known} expected, got ${metadata.format ?? "none"}: written by another version`);
  }
  for (const [prefix, layout, values] of groups(encoder, state)) readLayout(tensors, file, prefix, layout, values);
  state.queue.set(readTensor(tensors, file, "module.queue", [spec.queueSize, spec.dim]));
  const ids = tensors.get("queue_ids")?.data;
  if (!(ids instanceof BigInt64Array) || ids.length !== spec.queueSize) {
    throw new FileError(file, `tensor queue_ids: expected i64 [${spec.queueSize}]`);
  }
  state.queueIds.set(Int32Array.from(ids, Number));
  return migrate(JSON.parse(metadata.position ?? "{}") as Position);
}
