/** MATLAB's files of version 5 (MathWorks, "MAT-File Format"), as far as ImageNet's meta.mat needs it: one array of structures. */
import { inflateSync } from "node:zlib";

const [MATRIX, COMPRESSED] = [14, 15];
const STRUCTURES = 2;
/** Bytes of an element's numbers, by type. */
const WIDTH: Readonly<Record<number, number>> = {
  1: 1,
  2: 1,
  3: 2,
  4: 2,
  5: 4,
  6: 4,
  7: 4,
  9: 8,
  12: 8,
  13: 8,
  16: 1,
  17: 2,
};
/** meta.mat has 60 KB. */
const LARGEST = 2 ** 26;

interface Element {
  readonly type: number;
  readonly data: Buffer;
}

/** Elements one after the other. Small ones have type and length in one word. */
function* elements(bytes: Buffer): Generator<Element> {
  for (let at = 0; at + 8 <= bytes.length; ) {
    const word = bytes.readUInt32LE(at);
    const small = word >>> 16;
    const length = small > 0 ? small : bytes.readUInt32LE(at + 4);
    const from = at + (small > 0 ? 4 : 8);
    const type = small > 0 ? word & 0xffff : word;
    if (from + length > bytes.length) throw new Error("meta.mat ends early");
    yield { type, data: bytes.subarray(from, from + length) };
    at = small > 0 ? at + 8 : from + (type === COMPRESSED ? length : Math.ceil(length / 8) * 8);
  }
}

function numbersOf({ type, data }: Element): number[] {
  const width = WIDTH[type];
  if (width === undefined) throw new Error(`meta.mat has numbers of type ${type}`);
  const count = Math.floor(data.length / width);
  return Array.from({ length: count }, (_, i) => {
    if (type === 9) return data.readDoubleLE(8 * i);
    if (type === 7) return data.readFloatLE(4 * i);
    return data.readUIntLE(width * i, Math.min(width, 6));
  });
}

/** The numbers or letters of a matrix: behind its flags, its sides and its name. */
function valuesOf({ data }: Element): number[] {
  const [, , , values] = [...elements(data)];
  return values ? numbersOf(values) : [];
}

/** Class ids of WordNet by ILSVRC2012_ID. Throws Error where it is no such file. */
export function synsetsOfMat(bytes: Buffer): Map<number, string> {
  for (const outer of elements(bytes.subarray(128))) {
    const inner =
      outer.type === COMPRESSED ? [...elements(inflateSync(outer.data, { maxOutputLength: LARGEST }))][0] : outer;
    if (inner?.type !== MATRIX) continue;
    const [flags, , , width, names, ...cells] = [...elements(inner.data)];
    if (!flags || !width || !names || (flags.data[0] as number) !== STRUCTURES) continue;
    const length = numbersOf(width)[0] as number;
    const fields = Array.from({ length: names.data.length / length }, (_, i) =>
      names.data.toString("latin1", i * length, (i + 1) * length).replace(/\0.*$/s, ""),
    );
    const [id, wnid] = [fields.indexOf("ILSVRC2012_ID"), fields.indexOf("WNID")];
    if (id < 0 || wnid < 0) continue;
    const synsets = new Map<number, string>();
    for (let row = 0; row + fields.length <= cells.length; row += fields.length) {
      const name = String.fromCharCode(...valuesOf(cells[row + wnid] as Element));
      synsets.set(valuesOf(cells[row + id] as Element)[0] as number, name);
    }
    return synsets;
  }
  throw new Error("meta.mat has no structures with ILSVRC2012_ID and WNID");
}
