/**
 * TIFFs by geotiff.js: libvips takes no 64-bit floats, clips negative numbers, and reads one page. What is not plain numbers
 * (palettes, YCbCr, CMYK, Lab) is left to libvips, which makes 8-bit sRGB of it.
 */
import type { GeoTIFFImage } from "geotiff";
import { MOST_PIXELS } from "../pixels.ts";
import { interleaved } from "./planes.ts";
import { turned } from "./turned.ts";
import { type NumberImage, type NumberShape, type NumberValues, rangeOfType } from "./types.ts";

export const isTiff = (bytes: Buffer): boolean =>
  ["II*\0", "MM\0*", "II+\0", "MM\0+"].includes(bytes.toString("latin1", 0, 4));

/** PhotometricInterpretation (TIFF 6.0, section 8). */
const [WHITE_IS_ZERO, BLACK_IS_ZERO, RGB] = [0, 1, 2];
/** ExtraSamples that are alpha; 0 is unspecified: a band. */
const ALPHA = [1, 2];

/** The library is loaded for who needs it: every job's process would start later. */
async function open(bytes: Buffer) {
  const { fromArrayBuffer } = await import("geotiff");
  return fromArrayBuffer(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer);
}

const photometricOf = ({ fileDirectory }: GeoTIFFImage): number =>
  fileDirectory.getValue("PhotometricInterpretation") ?? BLACK_IS_ZERO;

/** Samples of a pixel that are no alpha; undefined: not plain numbers. */
function bandsOf(image: GeoTIFFImage): number | undefined {
  const photometric = photometricOf(image);
  if (![WHITE_IS_ZERO, BLACK_IS_ZERO, RGB].includes(photometric)) return undefined;
  const extra = [...(image.fileDirectory.getValue("ExtraSamples") ?? [])];
  const colours = photometric === RGB ? 3 : 1;
  const alpha = extra.length === 1 && ALPHA.includes(extra[0] as number) ? 1 : 0;
  return Math.max(colours, image.getSamplesPerPixel() - alpha);
}

export async function shapeOfTiff(bytes: Buffer): Promise<NumberShape> {
  const image = await (await open(bytes)).getImage(0);
  const channels = bandsOf(image);
  return { channels: channels ?? 3, deep: channels !== undefined && image.getBitsPerSample() > 8 };
}

async function valuesOf(image: GeoTIFFImage, bands: number): Promise<NumberValues> {
  const [width, height] = [image.getWidth(), image.getHeight()];
  if (width * height > MOST_PIXELS) throw new Error("image exceeds pixel limit");
  const samples = Array.from({ length: bands }, (_, i) => i);
  return (await image.readRasters({ interleave: true, samples })) as unknown as NumberValues;
}

/** Undefined where it is not plain numbers. Arguments and errors: see `readNumbers`. */
export async function readTiff(bytes: Buffer, most: number): Promise<NumberImage | undefined> {
  const file = await open(bytes);
  const first = await file.getImage(0);
  const own = bandsOf(first);
  if (own === undefined || first.getBitsPerSample() < 8) return undefined;
  const [width, height] = [first.getWidth(), first.getHeight()];
  // Alpha is a band where somebody asks for it by its number.
  const bands = Math.min(Math.max(own, most), first.getSamplesPerPixel());
  const all = [await valuesOf(first, bands)];
  const pages = bands === 1 && most > 1 ? await file.getImageCount() : 1;
  for (let page = 1; page < Math.min(pages, most); page++) {
    const image = await file.getImage(page);
    if (image.getWidth() !== width || image.getHeight() !== height || image.getSamplesPerPixel() !== 1) break;
    all.push(await valuesOf(image, 1));
  }
  const values = all.length === 1 ? (all[0] as NumberValues) : interleaved(all);
  const range = rangeOfType(values);
  if (photometricOf(first) === WHITE_IS_ZERO) {
    for (let i = 0; i < values.length; i++) values[i] = range[0] + range[1] - (values[i] as number);
  }
  const channels = values.length / (width * height);
  const orientation = first.fileDirectory.hasTag("Orientation")
    ? Number(await first.fileDirectory.loadValue("Orientation"))
    : 1;
  return turned({ values, height, width, channels, range }, orientation);
}
