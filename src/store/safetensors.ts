/** The safetensors format: u64 header length, JSON header, raw little-endian tensors. */
import { FileError, messageOf } from "../util/errors.ts";

export interface StoredTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | BigInt64Array;
}

export interface Stored {
  readonly tensors: Map<string, StoredTensor>;
  readonly metadata: Record<string, string>;
}

const ALIGN = 8;
const HEADER_LIMIT = 100 * 2 ** 20;

/** An F32 tensor whose values are computed when they are written, so that only one is in memory at a time. */
export interface LazyTensor {
  readonly shape: readonly number[];
  readonly make: () => Float32Array;
}

export type ToStore = Map<string, StoredTensor | LazyTensor>;

const sizeOf = (tensor: StoredTensor | LazyTensor): number =>
  "make" in tensor ? 4 * tensor.shape.reduce((a, b) => a * b, 1) : tensor.data.byteLength;

/**
 * Encodes tensors in the order given, and metadata under `__metadata__`. The same input gives the same bytes.
 *
 * @param into - Memory to reuse; where it is large enough, the result is a view of it.
 */
export function encodeSafetensors(tensors: ToStore, metadata: Record<string, string>, into?: Uint8Array): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const [name, tensor] of tensors) {
    const dtype = "make" in tensor || tensor.data instanceof Float32Array ? "F32" : "I64";
    const size = sizeOf(tensor);
    header[name] = { dtype, shape: tensor.shape, data_offsets: [offset, offset + size] };
    offset += size;
  }
  const text = Buffer.from(JSON.stringify(header));
  const padded = Math.ceil(text.length / ALIGN) * ALIGN;
  const length = 8 + padded + offset;
  const bytes = into && into.length >= length ? into.subarray(0, length) : new Uint8Array(length);
  bytes.fill(0x20, 8, 8 + padded);
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(0, BigInt(padded), true);
  bytes.set(text, 8);
  let at = 8 + padded;
  for (const tensor of tensors.values()) {
    const data = "make" in tensor ? tensor.make() : tensor.data;
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return bytes;
}

/** Bytes of an element of the types that are read. */
const WIDTHS: Readonly<Record<string, number>> = { F32: 4, I64: 8, F16: 2, BF16: 2 };

/** Halves are widened to float32, which holds each of them exactly. */
function valuesOf(dtype: string, raw: ArrayBuffer): Float32Array | BigInt64Array {
  if (dtype === "F32") return new Float32Array(raw);
  if (dtype === "I64") return new BigInt64Array(raw);
  if (dtype === "F16") return Float32Array.from(new Float16Array(raw));
  return new Float32Array(Uint32Array.from(new Uint16Array(raw), (v) => v << 16).buffer);
}

/**
 * Decodes a file of F32, I64, F16 and BF16 tensors; halves come as F32.
 *
 * @param file - Name of the file, for errors.
 * @throws FileError where the file is damaged or has tensors of another type.
 */
export function decodeSafetensors(bytes: Uint8Array, file: string): Stored {
  const { entries, metadata, from: data } = headerOf(bytes, file);
  const tensors = new Map<string, StoredTensor>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(entries)) {
    const [from, to] = data_offsets;
    const width = WIDTHS[dtype] ?? 0;
    const count = shape.reduce((a, b) => a * b, 1);
    if (width === 0)
      throw new FileError(file, `tensor ${name}: dtype ${Object.keys(WIDTHS).join(" or ")} expected, got ${dtype}`);
    if (to - from !== count * width || from < 0 || data + to > bytes.length) {
      throw new FileError(file, `tensor ${name}: offsets [${from}, ${to}] do not fit shape [${shape}]`);
    }
    // A copy, because the offset in the file is not aligned for a view. (`slice` of a Buffer would not copy.)
    const raw = new Uint8Array(bytes.subarray(data + from, data + to)).buffer;
    tensors.set(name, { shape, data: valuesOf(dtype, raw) });
  }
  return { tensors, metadata };
}

/** The metadata of a file, without a copy of its tensors. Throws FileError where the header is damaged. */
export const safetensorsMetadata = (bytes: Uint8Array, file: string): Stored["metadata"] =>
  headerOf(bytes, file).metadata;

interface Header {
  readonly entries: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
  readonly metadata: Record<string, string>;
  /** Where the tensors begin. */
  readonly from: number;
}

function headerOf(bytes: Uint8Array, file: string): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = bytes.length >= 8 ? Number(view.getBigUint64(0, true)) : -1;
  if (length < 0 || length > HEADER_LIMIT || 8 + length > bytes.length)
    throw new FileError(file, "is not a safetensors file");
  let header: Header["entries"];
  try {
    header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  } catch (error) {
    throw new FileError(file, `damaged safetensors header: ${messageOf(error)}`, { cause: error });
  }
  const { __metadata__, ...entries } = header;
  const metadata = (__metadata__ ?? {}) as unknown as Record<string, string>;
  return { entries, metadata, from: 8 + length };
}
