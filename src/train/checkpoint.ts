/**
 * Train state <-> safetensors. Every network has its prefix and PyTorch's names and layouts; MoCo's are those of
 * facebookresearch/moco: `module.encoder_q.layer1.0.conv1.weight` (OIHW), `module.queue` [C, K], `module.queue_ptr`.
 */
import type { Position } from "../engine/metrics.ts";
import { blockNames, floatsOf, intsOf, type Model, ringsOf, statesOf } from "../engine/state.ts";
import { methodOf } from "../methods/index.ts";
import { fromTorch, type Layout, type Oriented, torchShape, toTorch } from "../nn/layout.ts";
import type { TrainSpec } from "../schema/pretrain.ts";
import {
  decodeSafetensors,
  encodeSafetensors,
  type Stored,
  type StoredTensor,
  safetensorsMetadata,
  type ToStore,
} from "../store/safetensors.ts";
import type { TokenizerFile } from "../text/tokenizer.ts";
import { FileError } from "../util/errors.ts";

const FORMAT = "mocod-checkpoint-4";

/** What a position of another format may hold. */
interface OldPosition extends Omit<Position, "pointers"> {
  queuePointer: number;
}
/** Its fields stay in this order, so that a migrated run ends in the bytes of one that this version began. */
const pointed = ({ step, queuePointer, ...position }: OldPosition): Position => ({
  step,
  pointers: { queue: queuePointer },
  ...position,
});

/** How the position of an older format becomes that of this one. A format that is not here is refused. */
const migrations: Record<string, (position: never) => Position> = {
  [FORMAT]: (position: Position) => position,
  // Of MoCo alone, with one queue.
  "mocod-checkpoint-3": pointed,
  // Had no series: an epoch that was begun by such a version has its first steps in no file.
  "mocod-checkpoint-2": (position: OldPosition) => pointed({ ...position, series: [] }),
};

export type Tensors = Map<string, StoredTensor>;

/** What of a model a checkpoint is of. */
export interface Saved extends Pick<Model, "spec" | "networks" | "state"> {
  /** Of a run on texts: a checkpoint is of no use without it. */
  readonly tokenizer?: TokenizerFile | undefined;
}

/** The blocks that are tensors of a layout, in the order of the file. */
function groups({ networks, state }: Saved): [prefix: string, layout: Layout, values: Float32Array][] {
  const trained = networks.get(networks.trained).params;
  const all: [string, Layout, string][] = [
    ...networks.names.flatMap((name): [string, Layout, string][] => {
      const { prefix } = networks.specOf(name);
      const { params, stats } = networks.get(name);
      return [
        [prefix, params, blockNames.params(name)],
        [prefix, stats, blockNames.stats(name)],
      ];
    }),
    ["optimizer.momentum_buffer.", trained, blockNames.first],
    ["optimizer.exp_avg_sq.", trained, blockNames.second],
  ];
  return all
    .filter(([, , block]) => block in state)
    .map(([prefix, layout, block]) => [prefix, layout, floatsOf(state, block)]);
}

/** Adds a layout's tensors in PyTorch's order of axes, and the step counter that its batch norms keep. */
export function addLayout(to: ToStore, prefix: string, layout: Layout, values: Float32Array, step: number): void {
  for (const entry of layout.entries) {
    const { name, offset, size } = entry;
    to.set(prefix + name, {
      shape: torchShape(entry),
      make: () => toTorch(entry, values.subarray(offset, offset + size)),
    });
    if (!name.endsWith("running_var")) continue;
    const counter = prefix + name.replace("running_var", "num_batches_tracked");
    to.set(counter, { shape: [], data: BigInt64Array.of(BigInt(step)) });
  }
}

/** Throws FileError that names the tensor which is missing or has another shape. */
export function readTensor(tensors: Tensors, file: string, name: string, of: Oriented): Float32Array {
  const stored = tensors.get(name);
  const expected = torchShape(of);
  if (!(stored?.data instanceof Float32Array)) {
    throw new FileError(file, `tensor ${name}: expected f32 [${expected}], got ${stored ? "integers" : "none"}`);
  }
  if (stored.shape.join() !== expected.join()) {
    throw new FileError(file, `tensor ${name}: expected shape [${expected}], got [${stored.shape}]`);
  }
  return fromTorch(of, stored.data);
}

export function readLayout(tensors: Tensors, file: string, prefix: string, layout: Layout, values: Float32Array): void {
  for (const entry of layout.entries) values.set(readTensor(tensors, file, prefix + entry.name, entry), entry.offset);
}

/** A ring's rows: [C, K] in a file. */
const ringShape = ({ rows, dim }: { rows: number; dim: number }): Oriented => ({ shape: [rows, dim], axes: "linear" });

/** Everything of a model that training changes. */
export function stateTensors(saved: Saved, position: Position): ToStore {
  const { spec, state } = saved;
  const tensors: ToStore = new Map();
  for (const [prefix, layout, values] of groups(saved)) addLayout(tensors, prefix, layout, values, position.step);
  for (const [ring, of] of Object.entries(ringsOf(spec))) {
    const shape = ringShape(of);
    const rows = floatsOf(state, blockNames.ring(ring));
    const ids = BigInt64Array.from(intsOf(state, blockNames.ringIds(ring)), BigInt);
    tensors.set(of.names.rows, { shape: torchShape(shape), make: () => toTorch(shape, rows) });
    tensors.set(of.names.pointer, { shape: [1], data: BigInt64Array.of(BigInt(position.pointers[ring] as number)) });
    tensors.set(of.names.ids, { shape: [of.rows], data: ids });
  }
  for (const [name, own] of Object.entries(statesOf(spec))) {
    tensors.set(own.name, { shape: [...own.shape], data: floatsOf(state, blockNames.own(name)) });
  }
  return tensors;
}

/** `into`: see `encodeSafetensors`. */
export function encodeCheckpoint(saved: Saved, position: Position, into?: Uint8Array): Uint8Array {
  const { spec, tokenizer } = saved;
  const metadata = {
    format: FORMAT,
    spec: JSON.stringify(spec),
    position: JSON.stringify(position),
    ...(tokenizer && { tokenizer: JSON.stringify(tokenizer) }),
  };
  return encodeSafetensors(stateTensors(saved, position), metadata, into);
}

/**
 * Fills the state.
 * @throws FileError when a tensor is missing or misshapen.
 */
export function restoreState(tensors: Tensors, file: string, saved: Saved): void {
  const { spec, state } = saved;
  for (const [prefix, layout, values] of groups(saved)) readLayout(tensors, file, prefix, layout, values);
  for (const [ring, of] of Object.entries(ringsOf(spec))) {
    floatsOf(state, blockNames.ring(ring)).set(readTensor(tensors, file, of.names.rows, ringShape(of)));
    const ids = tensors.get(of.names.ids)?.data;
    if (!(ids instanceof BigInt64Array) || ids.length !== of.rows) {
      throw new FileError(file, `tensor ${of.names.ids}: expected i64 [${of.rows}]`);
    }
    intsOf(state, blockNames.ringIds(ring)).set(Int32Array.from(ids, Number));
  }
  for (const [name, own] of Object.entries(statesOf(spec))) {
    floatsOf(state, blockNames.own(name)).set(readTensor(tensors, file, own.name, { shape: own.shape, axes: "plain" }));
  }
}

/**
 * Fills the state and returns where the run stands.
 * @throws FileError when a tensor is missing or misshapen, and where the file is of another method.
 */
export function restoreCheckpoint(bytes: Uint8Array, file: string, saved: Saved): Position {
  const { tensors, metadata } = decodeSafetensors(bytes, file);
  const migrate = migrations[metadata.format ?? ""];
  if (!migrate) {
    const known = Object.keys(migrations).join(" or ");
    throw new FileError(file, `format ${known} expected, got ${metadata.format ?? "none"}: written by another version`);
  }
  expectMethod(metadata.spec, saved.spec, file);
  restoreState(tensors, file, saved);
  return migrate(JSON.parse(metadata.position ?? "{}") as never);
}

/** The tokenizer in a checkpoint; undefined where the run has no texts. */
export const checkpointTokenizer = (bytes: Uint8Array, file: string): TokenizerFile | undefined =>
  tokenizerOf({ metadata: safetensorsMetadata(bytes, file) });

/** The same of a checkpoint that is decoded. */
export function tokenizerOf({ metadata: { tokenizer } }: Pick<Stored, "metadata">): TokenizerFile | undefined {
  return tokenizer === undefined ? undefined : (JSON.parse(tokenizer) as TokenizerFile);
}

/** Methods of one algorithm read each other's files. */
function expectMethod(written: string | undefined, { method }: TrainSpec, file: string): void {
  const { method: from } = JSON.parse(written ?? "{}") as { method?: TrainSpec["method"] };
  if (from === undefined || methodOf({ method: from } as TrainSpec) === methodOf({ method } as TrainSpec)) return;
  throw new FileError(file, `is a checkpoint of method ${from}, expected one of ${method}`);
}
