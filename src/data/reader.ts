/** How the files of a collection become pixels: as 8 bits of RGB by sharp, or in their depth and with all their channels. */
import { chosen, type Depth, type DepthSettings, depthOf, mostOf } from "./deep/depth.ts";
import { readNumbers } from "./deep/numbers.ts";
import { type Levels, resized } from "./deep/resize.ts";
import type { NumberImage } from "./deep/types.ts";
import type { ImageFile } from "./listing/index.ts";
import { openedOpaque } from "./opaque.ts";
import { bytesOf, type Decoded, type ValueBytes } from "./types.ts";

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
    return withoutEnds({ values: data, height: info.height, width: info.width }, 3, size);
  },
};

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
      return withoutEnds(image, depth.channels, size);
    },
  };
}

/** Its middle, where a side is longer than `LONGEST` times `size`. */
function withoutEnds(image: Levels, channels: number, size: number): Decoded {
  const [height, width] = [image.height, image.width].map((side) => Math.min(side, LONGEST * size)) as [number, number];
  const all = bytesOf(image.values);
  if (height === image.height && width === image.width) return { pixels: all, height, width };
  const [top, left] = [Math.floor((image.height - height) / 2), Math.floor((image.width - width) / 2)];
  const pixel = channels * image.values.BYTES_PER_ELEMENT;
  const pixels = new Uint8Array(height * width * pixel);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * image.width + left) * pixel;
    pixels.set(all.subarray(from, from + width * pixel), y * width * pixel);
  }
  return { pixels, height, width };
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
