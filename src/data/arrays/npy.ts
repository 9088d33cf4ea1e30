/** NumPy's file format (numpy.org/devdocs/reference/generated/numpy.lib.format.html), as far as images and labels need it. */

/** Of 8 bits, or whole numbers of up to 32 (and of 64, where they are small). */
export interface NumberArray {
  readonly shape: readonly number[];
  /** As NumPy spells it: `|u1`. */
  readonly type: string;
  readonly values: Uint8Array | Int32Array;
}

const MAGIC = Buffer.from("\x93NUMPY", "latin1");

export const isNpy = (bytes: Buffer): boolean => bytes.subarray(0, 6).equals(MAGIC);

/** How one number is read, by type; undefined: a type that is not read. */
function readerOf(type: string, bytes: Buffer): ((i: number) => number) | undefined {
  switch (type) {
    case "|i1":
      return (i) => bytes.readInt8(i);
    case "<u2":
      return (i) => bytes.readUInt16LE(2 * i);
    case "<i2":
      return (i) => bytes.readInt16LE(2 * i);
    case "<u4":
      return (i) => bytes.readUInt32LE(4 * i);
    case "<i4":
      return (i) => bytes.readInt32LE(4 * i);
    case "<i8":
      return (i) => Number(bytes.readBigInt64LE(8 * i));
    case "<u8":
      return (i) => Number(bytes.readBigUInt64LE(8 * i));
    default:
      return undefined;
  }
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
  if (type === "|u1" || type === "|b1")
    return { shape, type, values: new Uint8Array(data.buffer, data.byteOffset, count) };
  const read = readerOf(type, data);
  if (!read) throw new Error(`has numbers of type ${type}; allowed: 8 bits for images, whole numbers for labels`);
  return { shape, type, values: Int32Array.from({ length: count }, (_, i) => read(i)) };
}
