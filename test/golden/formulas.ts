/** The weights and pixels of nets.py, so that goldens store results only. */
import { sharedBytes } from "../../src/data/types.ts";
import { type Entry, fromTorch, torchShape } from "../../src/nn/layout.ts";
import { LEAST_VOCABULARY } from "../../src/schema/text_encoder.ts";
import type { TokenTable } from "../../src/text/table.ts";

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

/** `mixed` of methods_nets.py: murmur3's finaliser. */
function mixed(value: number): number {
  let h = value >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b) >>> 0;
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35) >>> 0;
  return (h ^ (h >>> 16)) >>> 0;
}

/** `fill` of methods_nets.py. */
export function fillMixed(entries: readonly Entry[], values: Float32Array, salt: number): void {
  const names = entries.map((entry) => entry.name).sort();
  for (const entry of entries) {
    const { name, shape, offset, size } = entry;
    const first = 100_003 * names.indexOf(name) + Math.round(1000 * salt);
    const outputs = torchShape(entry)[0] as number;
    const tensor = Float32Array.from({ length: size }, (_, i) => {
      const u = mixed(i + first) / 2 ** 31 - 1;
      if (shape.length > 1) return u * Math.sqrt((6 * outputs) / size);
      return name.endsWith("weight") ? 1 + 0.2 * u : 0.1 * u;
    });
    values.set(fromTorch(entry, tensor), offset);
  }
}

/** `texts` of clip.py: of each of `n` images one text, i32[n, context], with padding. */
export function formulaTexts(n: number, context: number): TokenTable {
  const lengths = Int32Array.from({ length: n }, (_, i) => 3 + (mixed(i + 7) % (context - 2)));
  const tokens = Uint16Array.from({ length: n * context }, (_, at) => {
    const [place, length] = [at % context, lengths[Math.floor(at / context)] as number];
    if (place >= length) return 0;
    return place === 0 ? 1 : place === length - 1 ? 2 : 3 + (mixed(at + 99) % (LEAST_VOCABULARY - 3));
  });
  return { tokens, lengths, first: Int32Array.from({ length: n + 1 }, (_, i) => i), length: context, cut: 0 };
}

/** `pixels` of methods_nets.py: u8[n, side, side, 3], squares of 4 x 4 pixels of one colour. */
export function squares(n: number, side: number): Uint8Array<SharedArrayBuffer> {
  const pixels = sharedBytes(n * side * side * 3);
  const small = side / 4;
  for (let at = 0; at < pixels.length; at++) {
    const [channel, x, y] = [at % 3, Math.floor(at / 3) % side, Math.floor(at / 3 / side) % side];
    const image = Math.floor(at / 3 / side / side);
    const square = (image * small + Math.floor(y / 4)) * small + Math.floor(x / 4);
    pixels[at] = mixed(square * 3 + channel) >>> 24;
  }
  return pixels;
}
