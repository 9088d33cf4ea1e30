/** What is in a dataset, before anything is trained on it: counts, classes, sizes, broken files, mean and deviation. */
import type { DatasetReport, DatasetSpec, PartReport } from "../schema/dataset.ts";
import { messageOf, UnreachableError } from "../util/errors.ts";
import { inParallel } from "../util/parallel.ts";
import type { Depth } from "./deep/depth.ts";
import { toLevels } from "./deep/levels.ts";
import { isFiles, listParts, located } from "./image_files.ts";
import { loadDataset } from "./index.ts";
import type { ImageFile } from "./listing/index.ts";
import { Moments } from "./moments.ts";
import { opened } from "./pixels.ts";
import { deepNumbers, readerFor } from "./reader.ts";
import { type Part, readPart, textsReport, type Without } from "./texts.ts";
import { type DataContext, type Images, isHeld, levelsIn, levelsOf } from "./types.ts";

/** Broken files of a part that are named. */
const NAMED = 1000;

function counted(values: readonly string[], order: "name" | "count"): Record<string, number> {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const entries = [...counts];
  entries.sort((a, b) => (order === "count" ? b[1] - a[1] : 0) || (a[0] < b[0] ? -1 : 1));
  return Object.fromEntries(entries);
}

/** Of a file at its own size. Throws Error for what cannot be read. */
async function pixelsOf(bytes: Buffer, depth: Depth | undefined) {
  if (depth) {
    const image = await deepNumbers(bytes, depth);
    return { ...image, values: toLevels(image, depth.ranges, depth.valueBytes) };
  }
  const image = opened(bytes).toColourspace("srgb").removeAlpha().raw();
  const { data: values, info } = await image.toBuffer({ resolveWithObject: true });
  return { values, width: info.width, height: info.height };
}

async function checkFiles(
  files: readonly ImageFile[],
  depth: Depth | undefined,
  alive: DataContext["alive"],
): Promise<PartReport> {
  const moments = new Moments(depth?.channels ?? 3, depth?.valueBytes);
  const broken: string[] = [];
  const sizes: string[] = [];
  const classes: string[] = [];
  await inParallel(files.length, async (i) => {
    const file = files[i] as ImageFile;
    const { name, className } = file;
    alive?.();
    try {
      const { values, width, height } = await pixelsOf(await file.read(), depth);
      moments.add(values);
      sizes.push(`${width}x${height}`);
      if (className !== undefined) classes.push(className);
    } catch (error) {
      if (error instanceof UnreachableError) throw error;
      broken.push(`${name}: ${messageOf(error)}`);
    }
  });
  broken.sort();
  const sorted = { classes: counted(classes, "name"), sizes: counted(sizes, "count") };
  return {
    images: files.length - broken.length,
    ...sorted,
    brokenCount: broken.length,
    broken: broken.slice(0, NAMED),
    ...moments.result(),
  };
}

async function checkImages(images: Images | undefined, names: readonly string[]): Promise<PartReport | null> {
  if (!images) return null;
  const moments = new Moments(images.channels, images.valueBytes);
  const sizes: string[] = [];
  if (isHeld(images)) {
    moments.add(levelsIn(images));
    for (let i = 0; i < images.count; i++) sizes.push(`${images.width}x${images.height}`);
  } else {
    for (let i = 0; i < images.count; i++) {
      const image = await images.decode(i);
      moments.add(levelsOf(image, images.valueBytes));
      sizes.push(`${image.width}x${image.height}`);
    }
  }
  const labels = Array.from(images.labels ?? [], (label) => names[label] as string);
  const rest = { brokenCount: 0, broken: [], ...moments.result() };
  return { images: images.count, classes: counted(labels, "name"), sizes: counted(sizes, "count"), ...rest };
}

/** Decodes every image, each at its own size. Throws FileError for a source that is not there or holds none. */
export async function checkDataset(spec: DatasetSpec, context: DataContext): Promise<DatasetReport> {
  if (isFiles(spec)) {
    const files = await located(spec, context);
    const { train, test, notes, leftOut, without } = await listParts(files, context);
    const trained = await readPart(files, "training", train, context.alive);
    const tested = test && (await readPart(files, "test", test, context.alive));
    const { reader, depth } = await readerFor(files.path, trained.files, spec);
    const check = async (part: Part, before: Without) => {
      const texts = textsReport(part, before);
      return { ...(await checkFiles(part.files, depth, context.alive)), ...(texts && { texts }) };
    };
    return {
      train: await check(trained, without.train),
      test: tested ? await check(tested, without.test) : null,
      leftOut,
      notes: [...notes, ...trained.notes, ...(tested?.notes ?? []), ...reader.notes],
    };
  }
  const { train, test, classes, notes = [] } = await loadDataset(spec, context);
  const parts = { train: (await checkImages(train, classes)) as PartReport, test: await checkImages(test, classes) };
  return { ...parts, leftOut: {}, notes };
}
