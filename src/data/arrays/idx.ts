/** IDX, the format of MNIST (yann.lecun.com/exdb/mnist): numbers of any shape, the highest byte first. */
import { type NumberArray, valuesOf } from "./npy.ts";

/** The third byte says the type; here as NumPy spells it. */
const TYPES: Readonly<Record<number, string>> = {
  8: "|u1",
  9: "|i1",
  11: ">i2",
  12: ">i4",
  13: ">f4",
  14: ">f8",
};

export const isIdx = (bytes: Buffer): boolean =>
  bytes.length >= 8 && bytes[0] === 0 && bytes[1] === 0 && (bytes[2] as number) in TYPES;

/** Throws Error where it is cut short. */
export function decodeIdx(bytes: Buffer): NumberArray {
  const type = TYPES[bytes[2] as number] as string;
  const rank = bytes[3] as number;
  const shape = Array.from({ length: rank }, (_, i) => bytes.readUInt32BE(4 + 4 * i));
  const data = bytes.subarray(4 + 4 * rank);
  const count = shape.reduce((a, b) => a * b, 1);
  const size = Number(type.slice(2));
  if (data.length !== count * size)
    throw new Error(`has ${data.length} bytes of data; its shape needs ${count * size}`);
  const values = type === "|u1" ? new Uint8Array(data.buffer, data.byteOffset, count) : valuesOf(type, data);
  if (!values) throw new Error(`has numbers of type ${type}`);
  return { shape, type, values };
}
