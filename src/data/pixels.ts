/** The pixels of an image file, through sharp; formats that its libvips is built without are read first. */
import sharp, { type Sharp } from "sharp";
import { decodeBmp } from "./bmp.ts";
import { expectNoOtherFormat } from "./other_formats.ts";
import { decodePnm, isPnm } from "./pnm.ts";
import type { RawImage } from "./types.ts";

/** Pixels of one image, as sharp allows by default: 0x3fff squared. */
export const MOST_PIXELS = 268_402_689;

function readerOf(bytes: Buffer): ((bytes: Buffer, mostPixels: number) => RawImage) | undefined {
  const [first, second] = bytes;
  if (first === 0x42 && second === 0x4d) return decodeBmp; // BM
  return isPnm(bytes) ? decodePnm : undefined;
}

/** An image turned as its EXIF says people see it. Throws Error for what cannot be read; a damaged image fails when it is used. */
export function opened(bytes: Buffer): Sharp {
  expectNoOtherFormat(bytes);
  const read = readerOf(bytes);
  if (!read) return sharp(bytes, { failOn: "error" }).rotate();
  const { data, width, height, channels } = read(bytes, MOST_PIXELS);
  return sharp(data, { raw: { width, height, channels } });
}
