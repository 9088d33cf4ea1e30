/** Reads files of `torch.save`: the zip of PyTorch 1.6 and later, and the older sequence of pickles. Runs no code. */
import { unzipSync } from "fflate";
import { FileError } from "../util/errors.ts";
import { type PickleValue, readPickle, type StorageRef, type TensorRef } from "./pickle.ts";
import type { StoredTensor } from "./safetensors.ts";

type Reader = (bytes: DataView, index: number) => number | bigint;

const storages: Record<string, { width: number; read: Reader }> = {
  FloatStorage: { width: 4, read: (v, i) => v.getFloat32(i * 4, true) },
  DoubleStorage: { width: 8, read: (v, i) => v.getFloat64(i * 8, true) },
  HalfStorage: { width: 2, read: (v, i) => v.getFloat16(i * 2, true) },
  // The upper half of a float32.
  BFloat16Storage: { width: 2, read: (v, i) => bfloat16(v.getUint16(i * 2, true)) },
  LongStorage: { width: 8, read: (v, i) => v.getBigInt64(i * 8, true) },
};

const word = new DataView(new ArrayBuffer(4));
function bfloat16(bits: number): number {
  word.setUint32(0, bits << 16);
  return word.getFloat32(0);
}

export interface TorchFile {
  readonly value: PickleValue;
  /**
   * Reads a tensor of `value`, in PyTorch's layout.
   *
   * @throws FileError for an unsupported type.
   */
  tensor(ref: TensorRef): StoredTensor;
}

const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;

/**
 * Reads a file of `torch.save`.
 *
 * @throws FileError where it has neither of the two formats, is truncated, or refers to code.
 */
export function readTorchFile(bytes: Uint8Array, file: string): TorchFile {
  const isZip = bytes[0] === 0x50 && bytes[1] === 0x4b;
  const { value, storage } = isZip ? readZip(bytes, file) : readLegacy(bytes, file);
  return { value, tensor: (ref) => materialise(ref, storage, file) };
}

type Storages = (ref: StorageRef) => Uint8Array | undefined;

function readZip(bytes: Uint8Array, file: string): { value: PickleValue; storage: Storages } {
  let entries: Record<string, Uint8Array>;
  try {
    // PyTorch stores without compression; anything compressed could be a bomb.
    entries = unzipSync(bytes, { filter: ({ compression }) => compression === 0 });
  } catch (error) {
    throw new FileError(file, "is a damaged zip", { cause: error });
  }
  const pickle = Object.keys(entries).find((name) => name.endsWith("/data.pkl"));
  if (!pickle) throw new FileError(file, "is a zip, but not one of torch.save: it holds no data.pkl");
  const root = pickle.slice(0, -"data.pkl".length);
  const { value } = readPickle(entries[pickle] as Uint8Array, file);
  return { value, storage: ({ key }) => entries[`${root}data/${key}`] };
}

/** Magic number, protocol, system, the object, the keys of its storages: five pickles; then the storages. */
function readLegacy(bytes: Uint8Array, file: string): { value: PickleValue; storage: Storages } {
  // LONG1 of ten bytes in a pickle of protocol 2.
  const magic = [
    0x80,
    2,
    0x8a,
    10,
    ...Array.from({ length: 10 }, (_, i) => Number((LEGACY_MAGIC >> BigInt(8 * i)) & 255n)),
  ];
  if (!magic.every((byte, i) => bytes[i] === byte)) throw new FileError(file, "is not a file of torch.save");
  let at = magic.length + 1; // and STOP
  const next = () => {
    const { value, end } = readPickle(bytes, file, at);
    at = end;
    return value;
  };
  next();
  next();
  const value = next();
  const keys = next();
  if (!Array.isArray(keys)) throw new FileError(file, "is damaged: its list of storages is missing");
  // Each storage: its number of elements as i64, then they. Widths are known from the tensors that refer to it.
  const widths = new Map<string, number>();
  for (const { storage } of tensorsIn(value)) widths.set(storage.key, storages[storage.type]?.width ?? 0);
  const found = new Map<string, Uint8Array>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const key of keys) {
    const width = widths.get(String(key));
    if (!width || at + 8 > bytes.length) throw new FileError(file, `is damaged: storage ${String(key)} cannot be read`);
    const size = Number(view.getBigInt64(at, true)) * width;
    at += 8;
    if (size < 0 || at + size > bytes.length) throw new FileError(file, `is cut short in storage ${String(key)}`);
    found.set(String(key), bytes.subarray(at, at + size));
    at += size;
  }
  return { value, storage: ({ key }) => found.get(key) };
}

/** Every tensor inside a value. Iterative: a hostile file may nest as deep as it is long. */
function* tensorsIn(root: PickleValue): Generator<TensorRef> {
  const open: PickleValue[] = [root];
  const seen = new Set<PickleValue>();
  while (open.length > 0) {
    const value = open.pop() as PickleValue;
    if (typeof value !== "object" || value === null || seen.has(value)) continue;
    seen.add(value);
    if (value instanceof Map) open.push(...value.values());
    else if (Array.isArray(value)) open.push(...value);
    else if ("kind" in value && value.kind === "tensor") yield value;
  }
}

function materialise(ref: TensorRef, storage: Storages, file: string): StoredTensor {
  const { shape, stride, offset } = ref;
  const type = storages[ref.storage.type];
  if (!type) throw new FileError(file, `tensors of ${ref.storage.type} are not read`);
  const bytes = storage(ref.storage);
  if (!bytes) throw new FileError(file, `storage ${ref.storage.key} is missing`);
  const last = shape.reduce((sum, side, i) => sum + (side - 1) * (stride[i] as number), offset);
  const count = shape.reduce((a, b) => a * b, 1);
  const elements = Math.floor(bytes.length / type.width);
  // A stride of 0 could ask for more elements than there are bytes in the file.
  if (count > elements || (count > 0 && last >= elements)) {
    throw new FileError(file, `a tensor [${shape}] reaches beyond its storage of ${elements} elements`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data = ref.storage.type === "LongStorage" ? new BigInt64Array(count) : new Float32Array(count);
  const index = shape.map(() => 0);
  let from = offset;
  for (let i = 0; i < count; i++) {
    data[i] = type.read(view, from) as never;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += stride[axis] as number;
      index[axis] = (index[axis] as number) + 1;
      if ((index[axis] as number) < (shape[axis] as number)) break;
      from -= (shape[axis] as number) * (stride[axis] as number);
      index[axis] = 0;
    }
  }
  return { shape, data };
}
