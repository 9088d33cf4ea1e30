/** The weights and pixels of nets.py, so that goldens store results only. */
import { sharedBytes } from "../../src/data/types.ts";
import { type Entry, fromTorch, torchShape } from "../../src/nn/layout.ts";

/** `fill` of nets.py. */
export function fill(entries: readonly Entry[], values: Float32Array, salt: number): void {
  const names = entries.map((entry) => entry.name).sort();
  for (const entry of entries) {
    const { name, shape, offset, size } = entry;
    const t = names.indexOf(name);
    const fanIn = size / (torchShape(entry)[0] as number);
    const tensor = Float32Array.from({ length: size }, (_, i) => {
      const w = Math.sin(0.7 * i + 1.3 * t + salt);
      if (shape.length > 1) return w * Math.sqrt(2 / fanIn);
      return name.endsWith("weight") ? 1 + 0.2 * w : 0.1 * w;
    });
    values.set(fromTorch(entry, tensor), offset);
  }
}

/** `images` of nets.py before it normalises: u8[n, side, side, 3], a hash of the index. */
export function hashedPixels(n: number, side: number): Uint8Array<SharedArrayBuffer> {
  const pixels = sharedBytes(n * side * side * 3);
  for (let i = 0; i < pixels.length; i++) pixels[i] = Math.imul(i, 2654435761) >>> 24;
  return pixels;
}

/** `queue` of nets.py: f32[k, dim], rows of unit length. */
export function unitWaves(k: number, dim: number): Float32Array {
  const values = new Float32Array(k * dim);
  for (let row = 0; row < k; row++) {
    const vector = values.subarray(row * dim, (row + 1) * dim);
    for (let i = 0; i < dim; i++) vector[i] = Math.sin(0.9 * (row * dim + i) + 0.5);
    const norm = Math.sqrt(vector.reduce((sum, v) => sum + v * v, 0));
    for (let i = 0; i < dim; i++) vector[i] = (vector[i] as number) / norm;
  }
  return values;
}
