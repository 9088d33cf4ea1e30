/** What is in a dataset, before anything is trained on it: counts, classes, sizes, broken files, mean and deviation. */
import type { DatasetSpec } from "../schema/dataset.ts";
import { messageOf, UnreachableError } from "../util/errors.ts";
import { inParallel } from "../util/parallel.ts";
import { isFiles, listParts, located } from "./image_files.ts";
import { loadDataset } from "./index.ts";
import type { ImageFile } from "./listing/index.ts";
import { opened } from "./pixels.ts";
import { type DataContext, type Images, isHeld } from "./types.ts";

export interface PartReport {
  images: number;
  /** Images of each class; empty where there are none. */
  classes: Record<string, number>;
  /** "width x height" and how many have it, most frequent first. */
  sizes: Record<string, number>;
  /** Name and error of each file that cannot be decoded. */
  broken: string[];
  /** Per channel in [0, 1], over all pixels. */
  mean: number[];
  std: number[];
}

export interface DatasetReport {
  train: PartReport;
  test: PartReport | null;
  /** Files that are no images that can be read, by extension. */
  leftOut: Readonly<Record<string, number>>;
  /** Which parts were found, and what was not followed. */
  notes: readonly string[];
}

/** Sums of a channel's values and their squares: of bytes, so exact up to 2^53. */
class Moments {
  private readonly sum = [0, 0, 0];
  private readonly square = [0, 0, 0];
  private pixels = 0;

  add(values: Uint8Array, channels: number): void {
    for (let i = 0; i < values.length; i++) {
      const v = values[i] as number;
      const c = i % channels;
      this.sum[c] = (this.sum[c] as number) + v;
      this.square[c] = (this.square[c] as number) + v * v;
    }
    this.pixels += values.length / channels;
  }

  /** Of the first `channels`. */
  result(channels: number): { mean: number[]; std: number[] } {
    const means = this.sum.slice(0, channels).map((sum) => sum / this.pixels);
    const std = means.map((mean, c) => Math.sqrt((this.square[c] as number) / this.pixels - mean ** 2) / 255);
    return { mean: means.map((mean) => mean / 255), std };
  }
}

function counted(values: readonly string[], order: "name" | "count"): Record<string, number> {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const entries = [...counts];
  entries.sort((a, b) => (order === "count" ? b[1] - a[1] : 0) || (a[0] < b[0] ? -1 : 1));
  return Object.fromEntries(entries);
}

async function checkFiles(files: readonly ImageFile[]): Promise<PartReport> {
  const moments = new Moments();
  const broken: string[] = [];
  const sizes: string[] = [];
  const classes: string[] = [];
  await inParallel(files.length, async (i) => {
    const file = files[i] as ImageFile;
    const { name, className } = file;
    try {
      const image = opened(await file.read())
        .toColourspace("srgb")
        .removeAlpha()
        .raw();
      const { data, info } = await image.toBuffer({ resolveWithObject: true });
      moments.add(data, info.channels);
      sizes.push(`${info.width}x${info.height}`);
      if (className !== undefined) classes.push(className);
    } catch (error) {
      if (error instanceof UnreachableError) throw error;
      broken.push(`${name}: ${messageOf(error)}`);
    }
  });
  broken.sort();
  const sorted = { classes: counted(classes, "name"), sizes: counted(sizes, "count") };
  return { images: files.length - broken.length, ...sorted, broken, ...moments.result(3) };
}

async function checkImages(images: Images | undefined, names: readonly string[]): Promise<PartReport | null> {
  if (!images) return null;
  const moments = new Moments();
  const sizes: string[] = [];
  if (isHeld(images)) {
    moments.add(images.pixels, images.channels);
    for (let i = 0; i < images.count; i++) sizes.push(`${images.width}x${images.height}`);
  } else {
    for (let i = 0; i < images.count; i++) {
      const { pixels, width, height } = await images.decode(i);
      moments.add(pixels, images.channels);
      sizes.push(`${width}x${height}`);
    }
  }
  const labels = Array.from(images.labels ?? [], (label) => names[label] as string);
  const { count, channels } = images;
  const classes = counted(labels, "name");
  return { images: count, classes, sizes: counted(sizes, "count"), broken: [], ...moments.result(channels) };
}

/** Decodes every image, each at its own size. Throws FileError for a source that is not there or holds none. */
export async function checkDataset(spec: DatasetSpec, context: DataContext): Promise<DatasetReport> {
  if (isFiles(spec)) {
    const { train, test, notes, leftOut } = await listParts(await located(spec, context), context);
    return { train: await checkFiles(train), test: test ? await checkFiles(test) : null, leftOut, notes };
  }
  const { train, test, classes } = await loadDataset(spec, context);
  const parts = { train: (await checkImages(train, classes)) as PartReport, test: await checkImages(test, classes) };
  return { ...parts, leftOut: {}, notes: [] };
}
