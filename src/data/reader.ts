/** How the files of a collection become pixels: as 8 bits of RGB by sharp, or in their depth and with all their channels. */
import sharp from "sharp";
import { chosen, type Depth, type DepthSettings, depthOf, mostOf } from "./deep/depth.ts";
import { readNumbers } from "./deep/numbers.ts";
import { type Levels, resized } from "./deep/resize.ts";
import type { NumberImage } from "./deep/types.ts";
import type { ImageFile } from "./listing/index.ts";
import { openedOpaque } from "./opaque.ts";
import type { Decoded, ValueBytes } from "./types.ts";

export interface Reader {
  /** What the pixels depend on besides the file and their size. */
  readonly identity: string;
  readonly channels: number;
  readonly valueBytes: ValueBytes;
  /** Per channel, in [0, 1]. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** What a user is told of how the numbers of the files are read. */
  readonly notes: readonly string[];
  /** The centre square of an image at size x size. Throws Error for what cannot be read. */
  hold(bytes: Buffer, size: number): Promise<Uint8Array>;
  /** An image in its proportions, its shorter side at most `size`, its longer at most twice that. Throws Error likewise. */
  stream(bytes: Buffer, size: number): Promise<Decoded>;
}

/** Streamed images keep their proportions up to this; what is longer loses its ends. */
export const LONGEST = 2;

const SHRUNK = { fit: "outside", withoutEnlargement: true } as const;
const SQUARE = { fit: "cover" } as const;

/** ImageNet's mean and deviation, as the methods' own code has them. */
const plain: Reader = {
  identity: "rgb",
  channels: 3,
  valueBytes: 1,
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
  notes: [],
  hold: async (bytes, size) =>
    (await openedOpaque(bytes)).resize(size, size, SQUARE).toColourspace("srgb").removeAlpha().raw().toBuffer(),
  async stream(bytes, size) {
    const { data, info } = await (await openedOpaque(bytes))
      .resize(size, size, SHRUNK)
      .toColourspace("srgb")
      .removeAlpha()
      .raw()
      .toBuffer({ resolveWithObject: true });
    const [width, height] = [info.width, info.height].map((side) => Math.min(side, LONGEST * size)) as [number, number];
    if (width === info.width && height === info.height) return { pixels: data, height, width };
    const raw = { width: info.width, height: info.height, channels: 3 as const };
    const [left, top] = [Math.floor((info.width - width) / 2), Math.floor((info.height - height) / 2)];
    return { pixels: await sharp(data, { raw }).extract({ left, top, width, height }).raw().toBuffer(), height, width };
  },
};

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint8Array | Uint16Array) =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Numbers to the channels that are used. Throws Error where they are not there. */
export async function deepNumbers(bytes: Buffer, { channels, bands }: Depth): Promise<NumberImage> {
  return chosen(await readNumbers(bytes, mostOf(bands)), channels, bands);
}

function deep(depth: Depth): Reader {
  const { ranges, valueBytes } = depth;
  return {
    ...depth,
    identity: JSON.stringify([depth.channels, valueBytes, depth.bands, ranges]),
    notes: [depth.note],
    async hold(bytes, size) {
      return bytesOf((await resized(await deepNumbers(bytes, depth), ranges, valueBytes, size, SQUARE)).values);
    },
    async stream(bytes, size) {
      const image = await resized(await deepNumbers(bytes, depth), ranges, valueBytes, size, SHRUNK);
      const { values, height, width } = withoutEnds(image, depth.channels, LONGEST * size);
      return { pixels: bytesOf(values), height, width };
    },
  };
}

function withoutEnds(image: Levels, channels: number, longest: number): Levels {
  const [height, width] = [image.height, image.width].map((side) => Math.min(side, longest)) as [number, number];
  if (height === image.height && width === image.width) return image;
  const [top, left] = [Math.floor((image.height - height) / 2), Math.floor((image.width - width) / 2)];
  const values = new (image.values.constructor as Uint16ArrayConstructor)(height * width * channels);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * image.width + left) * channels;
    values.set(image.values.subarray(from, from + width * channels), y * width * channels);
  }
  return { values, height, width };
}

/** What reads a collection of which these are the training images. Throws FileError as `depthOf` does. */
export async function readerFor(
  source: string,
  files: readonly ImageFile[],
  settings: DepthSettings,
): Promise<{ reader: Reader; depth: Depth | undefined }> {
  const depth = await depthOf(source, files, settings);
  return { reader: depth ? deep(depth) : plain, depth };
}
