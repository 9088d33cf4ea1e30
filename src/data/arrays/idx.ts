/** IDX, the format of MNIST (yann.lecun.com/exdb/mnist): unsigned bytes of any shape. */
import type { NumberArray } from "./npy.ts";

export const isIdx = (bytes: Buffer): boolean =>
  bytes.length >= 8 && bytes[0] === 0 && bytes[1] === 0 && bytes[2] === 8;

/** Throws Error where it is cut short. */
export function decodeIdx(bytes: Buffer): NumberArray {
  const rank = bytes[3] as number;
  const shape = Array.from({ length: rank }, (_, i) => bytes.readUInt32BE(4 + 4 * i));
  const values = bytes.subarray(4 + 4 * rank);
  const count = shape.reduce((a, b) => a * b, 1);
  if (values.length !== count) throw new Error(`has ${values.length} bytes of data; its shape needs ${count}`);
  return { shape, type: "|u1", values };
}
