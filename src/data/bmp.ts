/**
 * Windows bitmaps to RGB. Of what npm has, fast-bmp takes the indices of a palette for grey values, bmp-ts gives the channels of a
 * palette in reverse order, and decode-bmp, last released in 2020, refuses rows from the top and 16 bits a pixel. Compressed
 * bitmaps (RLE) are refused by name.
 */
import type { RawImage } from "./types.ts";

const FILE_HEADER = 14;
/** `biCompression` of plain pixels, and of pixels with masks for their channels. */
const [PLAIN, MASKED, MASKED_ALPHA] = [0, 3, 6];
/** Red, green and blue of 16 bits a pixel, and of 32. */
const [MASKS_16, MASKS_32] = [
  [0x7c00, 0x03e0, 0x001f],
  [0xff0000, 0x00ff00, 0x0000ff],
] as const;

/** A channel's part of a pixel, scaled to 0..255. */
function maskOf(mask: number): (pixel: number) => number {
  if (mask === 0) return () => 0;
  const shift = 31 - Math.clz32(mask & -mask);
  const most = (mask >>> shift) >>> 0;
  return (pixel) => Math.round((((pixel & mask) >>> shift) * 255) / most);
}

/** Throws Error for what is cut short, compressed, or of more than `mostPixels`. */
export function decodeBmp(bytes: Buffer, mostPixels: number): RawImage {
  if (bytes.length < FILE_HEADER + 40) throw new Error("BMP: it ends early");
  const begin = bytes.readUInt32LE(10);
  const header = bytes.readUInt32LE(FILE_HEADER);
  if (header < 40) throw new Error(`BMP: a header of ${header} bytes is not read`);
  const [width, signed] = [bytes.readInt32LE(18), bytes.readInt32LE(22)];
  const height = Math.abs(signed);
  const bits = bytes.readUInt16LE(28);
  const compression = bytes.readUInt32LE(30);
  if (width <= 0 || height === 0) throw new Error("BMP: a side is 0");
  if (width * height > mostPixels) throw new Error("image exceeds pixel limit");
  if (![1, 4, 8, 16, 24, 32].includes(bits)) throw new Error(`BMP: ${bits} bits a pixel are not read`);
  if (![PLAIN, MASKED, MASKED_ALPHA].includes(compression)) throw new Error("BMP: compressed bitmaps are not read");
  const stride = Math.ceil((width * bits) / 32) * 4;
  if (bytes.length < begin + stride * height) throw new Error("BMP: it ends early");
  const data = new Uint8Array(width * height * 3);
  const put = pixelOf(bytes, { header, bits, compression });
  for (let y = 0; y < height; y++) {
    // Rows begin at the bottom, where the height is not negative.
    const row = begin + stride * (signed > 0 ? height - 1 - y : y);
    for (let x = 0; x < width; x++) put(row, x, data, (y * width + x) * 3);
  }
  return { data, width, height, channels: 3 };
}

type Put = (row: number, x: number, to: Uint8Array, at: number) => void;

function pixelOf(bytes: Buffer, of: { header: number; bits: number; compression: number }): Put {
  const { header, bits, compression } = of;
  if (bits === 24) {
    return (row, x, to, at) => {
      for (let c = 0; c < 3; c++) to[at + c] = bytes[row + 3 * x + 2 - c] as number;
    };
  }
  if (bits <= 8) {
    const palette = FILE_HEADER + header;
    const colours = bytes.readUInt32LE(46) || 2 ** bits;
    return (row, x, to, at) => {
      const byte = bytes[row + ((x * bits) >> 3)] as number;
      const index = (byte >> (8 - bits - ((x * bits) & 7))) & (2 ** bits - 1);
      if (index >= colours) throw new Error(`BMP: a pixel has colour ${index} of ${colours}`);
      for (let c = 0; c < 3; c++) to[at + c] = bytes[palette + 4 * index + 2 - c] as number;
    };
  }
  const own =
    compression === PLAIN ? (bits === 16 ? MASKS_16 : MASKS_32) : [0, 4, 8].map((i) => bytes.readUInt32LE(54 + i));
  const channels = own.map(maskOf);
  return (row, x, to, at) => {
    const pixel = bits === 16 ? bytes.readUInt16LE(row + 2 * x) : bytes.readUInt32LE(row + 4 * x);
    for (let c = 0; c < 3; c++) to[at + c] = (channels[c] as (pixel: number) => number)(pixel);
  };
}
