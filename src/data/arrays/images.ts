/** Numbers of an array as images: all of them in memory, or, of what one buffer does not hold, each when it is needed. */
import type { DatasetSpec } from "../../schema/dataset.ts";
import { FileError } from "../../util/errors.ts";
import { spread } from "../../util/spread.ts";
import { chosen, rangesOf, thinned } from "../deep/depth.ts";
import { toLevels } from "../deep/levels.ts";
import { type NumberImage, type NumberValues, type Range, rangeOfType } from "../deep/types.ts";
import { bytesOf, type FiledImages, type HeldImages, type Images, sharedBytes, type ValueBytes } from "../types.ts";
import type { Rows } from "./array_file.ts";
import { type Layout, layoutOf } from "./layout.ts";
import type { NumberArray } from "./npy.ts";

type ArraySpec = Extract<DatasetSpec, { kind: "array" }>;

/** The images of one array, as it has them. */
export interface Numbers extends Layout {
  readonly labels: Int32Array | undefined;
  /** Of images whose numbers are all here; else `row` reads those of one. */
  readonly values?: NumberValues;
  readonly row?: (index: number) => Promise<NumberValues>;
  /** Channels that are used, from 0; undefined: all. */
  readonly bands: readonly number[] | undefined;
}

/** What becomes of numbers: bytes of such as they are where they have their own range, else 16 bits. */
export interface Scale {
  readonly ranges: readonly Range[] | undefined;
  readonly valueBytes: ValueBytes;
}

/** Throws FileError for a shape that is none of images, or that lacks the bands that are asked for. */
export function numbersOf(
  file: string,
  from: NumberArray | Rows,
  labels: Int32Array | undefined,
  bands: ArraySpec["bands"],
): Numbers {
  const layout = layoutOf(file, from.shape, labels);
  const most = Math.max(0, ...(bands ?? []));
  if (most > layout.channels)
    throw new FileError(file, `has ${layout.channels} channels; bands asks for the ${most}th`);
  const of = { ...layout, labels, bands: bands?.map((band) => band - 1) };
  if ("row" in from) return { ...of, row: from.row };
  layout.turn(from.values);
  return { ...of, values: from.values };
}

export const channelsOf = ({ bands, channels }: Numbers): number => bands?.length ?? channels;

/** Image `i` with the channels that are used. */
async function imageOf(of: Numbers, i: number): Promise<NumberImage> {
  const { height, width, channels, bands, values, row } = of;
  const size = height * width * channels;
  const own = values ? values.subarray(i * size, (i + 1) * size) : ((await row?.(i)) as NumberValues);
  if (!values) of.turn(own);
  return chosen({ values: own, height, width, channels, range: rangeOfType(own) }, channelsOf(of), bands);
}

/** Images that say where 0 and 1 are, and pixels of each that are looked at. */
const [SAMPLE, PIXELS] = [128, 4096];

/** By a sample of the images that are trained on. Throws FileError as `rangesOf` does. */
export async function scaleOf(
  file: string,
  range: NonNullable<ArraySpec["range"]>,
  of: Numbers,
  trained: readonly number[],
): Promise<Scale> {
  const sample: NumberImage[] = [];
  for (const i of spread(trained, SAMPLE)) sample.push(thinned(await imageOf(of, i), PIXELS));
  const bytes = sample.every(({ values }) => values instanceof Uint8Array);
  return { ranges: rangesOf(file, range, sample), valueBytes: range === "dtype" && bytes ? 1 : 2 };
}

/** As images of the scale's depth. */
export async function imagesOf(of: Numbers, { ranges, valueBytes }: Scale): Promise<Images> {
  const { count, height, width, labels, values, bands } = of;
  const channels = channelsOf(of);
  const sides = { labels, count, height, width, channels, valueBytes };
  if (valueBytes === 1 && !bands && values instanceof Uint8Array) {
    // HDF5's bytes are in shared memory already.
    if (values.buffer instanceof SharedArrayBuffer) return { ...sides, pixels: values as HeldImages["pixels"] };
    const pixels = sharedBytes(values.length);
    pixels.set(values);
    return { ...sides, pixels };
  }
  const imageBytes = height * width * channels * valueBytes;
  const levels = async (i: number) => {
    const image = await imageOf(of, i);
    if (valueBytes === 1 && image.values instanceof Uint8Array) return image.values;
    return bytesOf(toLevels(image, ranges, valueBytes));
  };
  if (!values) {
    const decode = async (i: number) => ({ pixels: await levels(i), height, width });
    return { labels, count, channels, valueBytes, slotBytes: imageBytes, decode } satisfies FiledImages;
  }
  const pixels = sharedBytes(count * imageBytes);
  for (let i = 0; i < count; i++) pixels.set(await levels(i), i * imageBytes);
  return { ...sides, pixels };
}
