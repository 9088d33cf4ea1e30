/** PGM and PPM, in text and in binary (netpbm.sourceforge.net/doc): no kept library reads them, and there is little to read. */
import type { RawImage } from "./types.ts";

/** Reads the next number of a header, over white space and comments. */
class Header {
  at = 2;

  constructor(private readonly bytes: Buffer) {}

  next(): number {
    for (;;) {
      const byte = this.bytes[this.at] ?? 0;
      if (byte === 0x23) while (this.at < this.bytes.length && this.bytes[this.at] !== 0x0a) this.at++;
      else if (byte > 0x20 || this.at >= this.bytes.length) break;
      else this.at++;
    }
    const begin = this.at;
    while ((this.bytes[this.at] ?? 0) > 0x20) this.at++;
    const value = Number(this.bytes.toString("latin1", begin, this.at) || "NaN");
    if (!Number.isInteger(value) || value < 0) throw new Error("PNM: a number is missing");
    return value;
  }
}

/** P2, P3, P5 and P6: not of bits, and no PAM. */
export const isPnm = (bytes: Buffer): boolean =>
  bytes[0] === 0x50 && [0x32, 0x33, 0x35, 0x36].includes(bytes[1] as number);

export interface PnmImage {
  readonly values: Uint8Array | Uint16Array;
  /** What is white. */
  readonly largest: number;
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
}

/** P2 and P5 are grey, P3 and P6 RGB. Throws Error for what is not whole. */
export function decodePnmNumbers(bytes: Buffer, mostPixels: number): PnmImage {
  const kind = Number(String.fromCharCode(bytes[1] as number));
  const header = new Header(bytes);
  const [width, height, largest] = [header.next(), header.next(), header.next()];
  if (width * height > mostPixels) throw new Error("image exceeds pixel limit");
  if (width === 0 || height === 0 || largest === 0 || largest > 65_535)
    throw new Error("PNM: a size or the largest value is 0 or too large");
  const channels = kind % 3 === 0 ? 3 : 1;
  const count = width * height * channels;
  const values = largest > 255 ? new Uint16Array(count) : new Uint8Array(count);
  if (kind < 4) {
    for (let i = 0; i < count; i++) values[i] = Math.min(header.next(), largest);
  } else {
    const begin = header.at + 1; // one white space ends the header
    if (bytes.length < begin + values.byteLength) throw new Error("PNM: it ends early");
    for (let i = 0; i < count; i++) {
      const value = largest > 255 ? bytes.readUInt16BE(begin + 2 * i) : (bytes[begin + i] as number);
      values[i] = Math.min(value, largest);
    }
  }
  return { values, largest, width, height, channels };
}

/** The same, scaled to 8 bits. */
export function decodePnm(bytes: Buffer, mostPixels: number): RawImage {
  const { values, largest, ...image } = decodePnmNumbers(bytes, mostPixels);
  return { ...image, data: Uint8Array.from(values, (value) => Math.round((value * 255) / largest)) };
}
