/** NumPy's file format: what bench/recipe.ts hands its images over in. */
export function npy(shape: readonly number[], data: Uint8Array | Int32Array): Uint8Array {
  const descr = data instanceof Uint8Array ? "|u1" : "<i4";
  const sides = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${sides}), }`;
  const padded = `${header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11)}\n`;
  const start = Buffer.concat([Buffer.from("\x93NUMPY\x01\x00", "latin1"), Buffer.alloc(2), Buffer.from(padded)]);
  start.writeUInt16LE(padded.length, 8);
  return Buffer.concat([start, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]);
}
