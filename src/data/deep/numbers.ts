/** The numbers of one image file in its own type, however deep they are and however many channels it has. */
import { MOST_PIXELS, opened } from "../pixels.ts";
import { decodePnmNumbers, isPnm } from "../pnm.ts";
import { isTiff, readTiff, shapeOfTiff } from "./tiff.ts";
import { type NumberImage, type NumberShape, rangeOfType } from "./types.ts";

/** Of a file's first image, without decoding its pixels where its format allows that. Throws Error for what cannot be read. */
export async function shapeOf(bytes: Buffer, keepAlpha: boolean): Promise<NumberShape> {
  if (isTiff(bytes)) return shapeOfTiff(bytes);
  if (isPnm(bytes)) {
    const { channels, largest } = decodePnmNumbers(bytes, MOST_PIXELS);
    return { channels, deep: largest > 255 };
  }
  const { channels, hasAlpha, depth, space } = await opened(bytes).metadata();
  const colours = space === "cmyk" ? 3 : channels - (hasAlpha && !keepAlpha ? 1 : 0);
  return { channels: colours, deep: depth !== "uchar" };
}

/**
 * @param most Channels that are needed; of a TIFF, pages of one channel and the same size count on after those of its first. 0: those
 * of the first image, without alpha.
 * @throws Error for what cannot be read, or has more pixels than allowed.
 */
export async function readNumbers(bytes: Buffer, most: number): Promise<NumberImage> {
  if (isTiff(bytes)) {
    const image = await readTiff(bytes, most);
    if (image) return image;
  }
  if (isPnm(bytes)) {
    const { values, largest, ...image } = decodePnmNumbers(bytes, MOST_PIXELS);
    return { ...image, values, range: [0, largest] };
  }
  const image = opened(bytes);
  const { space = "srgb", depth } = await image.metadata();
  const deep = depth === "ushort" && (space === "grey16" || space === "rgb16");
  const kept = most > 0 ? image : image.removeAlpha();
  const { data, info } = await kept
    .toColourspace(deep ? space : "srgb")
    .raw({ depth: deep ? "ushort" : "uchar" })
    .toBuffer({ resolveWithObject: true });
  const values = deep ? new Uint16Array(data.buffer, data.byteOffset, data.length / 2) : new Uint8Array(data);
  return { values, height: info.height, width: info.width, channels: info.channels, range: rangeOfType(values) };
}
