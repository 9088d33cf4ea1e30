const types: [new (...args: never[]) => unknown, string][] = [
  [Uint8Array, "|u1"],
  [Int32Array, "<i4"],
  [Float32Array, "<f4"],
];

/** Encodes an array in NumPy's file format, version 1.0, which `numpy.load` reads. */
export function encodeNpy(shape: readonly number[], data: Uint8Array | Int32Array | Float32Array): Uint8Array {
  const descr = types.find(([type]) => data instanceof type)?.[1] as string;
  const sides = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${sides}), }`;
  // Magic, length and header fill a multiple of 64 bytes.
  const padded = `${header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11)}\n`;
  const start = Buffer.concat([Buffer.from("\x93NUMPY\x01\x00", "latin1"), Buffer.alloc(2), Buffer.from(padded)]);
  start.writeUInt16LE(padded.length, 8);
  return Buffer.concat([start, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]);
}
