/**
 * How a collection's images are held where 8 bits of grey or RGB do not hold them: how many channels, how deep, and what becomes
 * 0 and 1. Decided by a few of its files, evenly spread over the list, so that every run on the same files decides the same.
 */
import type { BandsSetting, RangeSetting } from "../../schema/dataset.ts";
import { FileError, messageOf, UnreachableError } from "../../util/errors.ts";
import { inParallel } from "../../util/parallel.ts";
import { spread } from "../../util/spread.ts";
import type { ImageFile } from "../listing/index.ts";
import { Moments } from "../moments.ts";
import type { ValueBytes } from "../types.ts";
import { percentiles, toLevels } from "./levels.ts";
import { readNumbers, shapeOf } from "./numbers.ts";
import type { NumberImage, NumberShape, Range } from "./types.ts";

export interface DepthSettings {
  /** Unset, as in jobs of before there was such a setting: 8 bits of RGB, whatever the files have. */
  readonly range?: RangeSetting | undefined;
  readonly bands?: BandsSetting | undefined;
}

export interface Depth {
  readonly channels: number;
  readonly valueBytes: ValueBytes;
  /** Channels of the file that are used, from 0; undefined: all of them, and of grey images in a collection of RGB the one thrice. */
  readonly bands: readonly number[] | undefined;
  /** Of each channel; undefined: that of each image's type. */
  readonly ranges: readonly Range[] | undefined;
  /** Per channel, in [0, 1]. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** What a user is told of it. */
  readonly note: string;
}

/** Files whose headers decide; files whose pixels say range, mean and deviation; pixels of each that are looked at. */
const [HEADERS, SAMPLE, PIXELS] = [16, 128, 4096];

/**
 * What `work` makes of each file, in order, without those that cannot be read: decoding all of them counts and names these. `none` says
 * why, where there is no other.
 */
async function ofEach<T>(
  source: string,
  files: readonly ImageFile[],
  work: (bytes: Buffer) => Promise<T>,
): Promise<{ found: T[]; none: FileError | undefined }> {
  const all = new Array<T | undefined>(files.length);
  const bad: string[] = [];
  await inParallel(files.length, async (i) => {
    const file = files[i] as ImageFile;
    try {
      all[i] = await work(await file.read());
    } catch (error) {
      if (error instanceof UnreachableError) throw error;
      bad[i] = `${file.name}: ${messageOf(error)}`;
    }
  });
  const found = all.filter((value) => value !== undefined);
  const why = `has no image that can be read (first: ${bad.find(Boolean)})`;
  return { found, none: found.length === 0 ? new FileError(source, why) : undefined };
}

/**
 * Channels and depth alone, from the headers of a few files; undefined: 8 bits of RGB.
 *
 * @param none - What to do where none of them can be read; unset: nothing.
 * @throws FileError as `depthOf` does.
 */
export async function formatOf(
  source: string,
  files: readonly ImageFile[],
  { range, bands }: DepthSettings,
  none: (error: FileError) => void = () => undefined,
): Promise<Pick<Depth, "channels" | "valueBytes"> | undefined> {
  if (range === undefined && bands === undefined) return undefined;
  const shapes = await ofEach(source, spread(files, HEADERS), (bytes) => shapeOf(bytes, bands !== undefined));
  if (shapes.none) none(shapes.none);
  const deep = shapes.found.some((shape) => shape.deep) || (range !== undefined && range !== "dtype");
  const channels = bands?.length ?? commonChannels(source, shapes.found);
  if (!deep && !bands && channels === 3) return undefined;
  return { channels, valueBytes: deep ? 2 : 1 };
}

/** 3 where all are grey or RGB. */
function commonChannels(source: string, shapes: readonly NumberShape[]): number {
  const counts = [...new Set(shapes.map(({ channels }) => (channels === 1 ? 3 : channels)))].sort((a, b) => a - b);
  if (counts.length > 1) {
    throw new FileError(
      source,
      `holds images of ${counts.join(" and of ")} channels: name those to use (dataset.bands)`,
    );
  }
  return counts[0] ?? 3;
}

/**
 * Undefined where the images are held as 8 bits of RGB.
 *
 * @throws FileError for images of different numbers of channels without `bands`; where `range` or `bands` cannot be applied to any.
 */
export async function depthOf(
  source: string,
  files: readonly ImageFile[],
  settings: DepthSettings,
): Promise<Depth | undefined> {
  const format = await formatOf(source, files, settings);
  if (!format) return undefined;
  const { channels, valueBytes } = format;
  const { range = "dtype" } = settings;
  const bands = settings.bands?.map((band) => band - 1);
  const most = mostOf(bands);
  const { found: sample, none } = await ofEach(source, spread(files, SAMPLE), async (bytes) =>
    thinned(chosen(await readNumbers(bytes, most), channels, bands), PIXELS),
  );
  if (none) throw none;
  const ranges = rangesOf(source, range, sample);
  const moments = new Moments(channels, valueBytes);
  for (const image of sample) moments.add(toLevels(image, ranges, valueBytes));
  return { channels, valueBytes, bands, ranges, ...moments.result(), note: noteOf(format, settings.bands, ranges) };
}

/** Share of numbers that may lie outside of the range of their type: floats of other units than 0 to 1 are no images yet. */
const OUTSIDE = 0.01;

/**
 * Of each channel; undefined: that of their type.
 *
 * @throws FileError for floats of which many lie outside of 0 to 1, where no range says what they mean.
 */
export function rangesOf(
  source: string,
  range: RangeSetting,
  sample: readonly Pick<NumberImage, "values" | "channels" | "range">[],
): readonly Range[] | undefined {
  if (range === "dtype") {
    const outside = sample.map(({ values, range: [low, high] }) => values.filter((v) => v < low || v > high).length);
    const all = sample.reduce((sum, { values }) => sum + values.length, 0);
    if (outside.reduce((a, b) => a + b, 0) <= OUTSIDE * all) return undefined;
    const ends = sample.flatMap(({ values }) => extremes(values));
    throw new FileError(
      source,
      `has floats from ${short(Math.min(...ends))} to ${short(Math.max(...ends))}, of which range "dtype" takes those from 0 ` +
        'to 1; allowed: a range of [low, high] or "percentile"',
    );
  }
  const { channels } = sample[0] as { channels: number };
  return range === "percentile" ? percentiles(sample) : Array<Range>(channels).fill(range);
}

function extremes(values: NumberImage["values"]): [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return [low, high];
}

const short = (of: number): number => (Number.isInteger(of) ? of : Number(of.toPrecision(4)));

/** What a user is told. */
export function noteOf(
  { channels, valueBytes }: Pick<Depth, "channels" | "valueBytes">,
  bands: BandsSetting | undefined,
  ranges: readonly Range[] | undefined,
): string {
  const told = ranges?.map(([low, high]) => `${short(low)} to ${short(high)}`);
  const of = channels === 3 ? "RGB" : `${channels} band${channels === 1 ? "" : "s"}`;
  return (
    `${of} of ${8 * valueBytes} bits${bands ? `, bands ${bands.join(", ")} of the files` : ""}; ` +
    `0 to 1 is ${told ? [...new Set(told)].join("; ") : "the range of their type"} (range)`
  );
}

/** Channels that a file must have for these bands; 0: those of its first image. */
export const mostOf = (bands: readonly number[] | undefined): number => (bands ? Math.max(...bands) + 1 : 0);

/** The channels that are used. Throws Error where the image has others. */
export function chosen(image: NumberImage, channels: number, bands: readonly number[] | undefined): NumberImage {
  const has = image.channels;
  const most = bands ? mostOf(bands) : channels;
  if (bands ? has < most : has !== channels && !(has === 1 && channels === 3)) {
    throw new Error(
      `has ${has} channel${has === 1 ? "" : "s"}; ${bands ? `band ${most} is asked for` : `the first images have ${channels}`}`,
    );
  }
  if (!bands && has === channels) return image;
  const from = bands ?? Array<number>(channels).fill(0);
  const pixels = image.height * image.width;
  const values = new (image.values.constructor as new (length: number) => typeof image.values)(pixels * channels);
  for (let p = 0; p < pixels; p++) {
    for (let c = 0; c < channels; c++) values[p * channels + c] = image.values[p * has + (from[c] as number)] as number;
  }
  return { ...image, values, channels };
}

/** At most so many of its pixels, evenly spread, as one line. */
export function thinned(image: NumberImage, most: number): NumberImage {
  const { values, channels, height, width } = image;
  const all = height * width;
  const count = Math.min(most, all);
  const kept = new (values.constructor as new (length: number) => typeof values)(count * channels);
  for (let i = 0; i < count; i++) {
    const from = Math.floor((i * all) / count) * channels;
    for (let c = 0; c < channels; c++) kept[i * channels + c] = values[from + c] as number;
  }
  return { ...image, values: kept, height: 1, width: count };
}
