/** NumPy's file format (numpy.org/devdocs/reference/generated/numpy.lib.format.html), as far as images and labels need it. */

import type { NumberValues } from "../deep/types.ts";

export interface NumberArray {
  readonly shape: readonly number[];
  /** As NumPy spells it: `|u1`. */
  readonly type: string;
  /** Whole numbers of 64 bits are floats of 64. */
  readonly values: NumberValues;
}

/** Whether a type is one of bytes, as NumPy spells it. */
export const isBytes = (type: string): boolean => type === "|u1" || type === "|b1";

const MAGIC = Buffer.from("\x93NUMPY", "latin1");

export const isNpy = (bytes: Buffer): boolean => bytes.subarray(0, 6).equals(MAGIC);

/** What holds numbers of a type, without the mark of their order. */
const ARRAYS = {
  u1: Uint8Array,
  b1: Uint8Array,
  i1: Int8Array,
  u2: Uint16Array,
  i2: Int16Array,
  u4: Uint32Array,
  i4: Int32Array,
  f4: Float32Array,
  f8: Float64Array,
} as const;
/** `type` as NumPy spells it, `<u2`; undefined: one that is not read. */
export function valuesOf(type: string, data: Buffer): NumberValues | undefined {
  const [order, code] = [type[0], type.slice(1)];
  const bytes = new Uint8Array(data).buffer; // aligned
  if (order === ">") {
    const size = Number(code.slice(1));
    const swapped = Buffer.from(bytes);
    if (size === 2) swapped.swap16();
    else if (size === 4) swapped.swap32();
    else if (size === 8) swapped.swap64();
  }
  if (code in ARRAYS) return new ARRAYS[code as keyof typeof ARRAYS](bytes);
  // What no array of a NumberImage holds as it is.
  if (code === "f2") return Float32Array.from(new Float16Array(bytes));
  if (code === "i8") return Float64Array.from(new BigInt64Array(bytes), Number);
  if (code === "u8") return Float64Array.from(new BigUint64Array(bytes), Number);
  return undefined;
}

/** Throws Error for what is cut short, in Fortran's order, or of another type, which it names. */
export function decodeNpy(bytes: Buffer): NumberArray {
  const wide = (bytes[6] as number) > 1;
  const length = wide ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8);
  const begin = (wide ? 12 : 10) + length;
  const header = bytes.toString("latin1", wide ? 12 : 10, begin);
  const type = /'descr':\s*'([^']+)'/.exec(header)?.[1];
  const sides = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1];
  if (type === undefined || sides === undefined) throw new Error("has a header that is not NumPy's");
  if (/'fortran_order':\s*True/.test(header))
    throw new Error("is in Fortran's order: save numpy.ascontiguousarray of it");
  const shape = sides
    .split(",")
    .filter((side) => side.trim() !== "")
    .map(Number);
  const count = shape.reduce((a, b) => a * b, 1);
  const data = bytes.subarray(begin);
  const size = Number(type.slice(2));
  if (data.length !== count * size)
    throw new Error(`has ${data.length} bytes of data; its shape needs ${count * size}`);
  // A copy of bytes would double the memory of a large file for nothing.
  if (isBytes(type)) return { shape, type, values: new Uint8Array(data.buffer, data.byteOffset, count) };
  const values = valuesOf(type, data);
  if (!values) throw new Error(`has numbers of type ${type}; allowed: whole numbers of up to 64 bits, floats, bool`);
  return { shape, type, values };
}
