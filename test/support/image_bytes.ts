/** Image files by their bytes, of kinds that no library here writes. */
import { crc32, deflateSync } from "node:zlib";

/** A Windows bitmap of 40 bytes of header, what follows it (palette or masks), and rows as they are given. */
export function bmp(of: {
  width: number;
  /** Negative: rows begin at the top. */
  height: number;
  bits: number;
  compression?: number;
  colours?: number;
  /** Palette or masks. */
  table?: readonly number[];
  rows: readonly number[];
}): Buffer {
  const { table = [], rows } = of;
  const head = Buffer.alloc(54);
  const begin = head.length + table.length;
  head.write("BM");
  head.writeUInt32LE(begin, 10);
  head.writeUInt32LE(40, 14);
  head.writeInt32LE(of.width, 18);
  head.writeInt32LE(of.height, 22);
  head.writeUInt16LE(of.bits, 28);
  head.writeUInt32LE(of.compression ?? 0, 30);
  head.writeUInt32LE(of.colours ?? 0, 46);
  return Buffer.concat([head, Buffer.from(table), Buffer.from(rows)]);
}

/** Each as four bytes, the lowest first. */
export const words = (...values: number[]): number[] =>
  values.flatMap((value) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 255));

function chunk(kind: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(kind, "latin1"), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}

/** An RGB PNG that claims to be so large and has a thousand bytes of pixels. */
export function pngHeader(width: number, height: number): Buffer {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2], 8);
  return Buffer.concat([
    Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
    chunk("IHDR", head),
    chunk("IDAT", deflateSync(Buffer.alloc(1000))),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}
