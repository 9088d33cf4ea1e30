/**
 * The images of a folder or an archive, in which part each is and of what class: from the names of folders, the files of
 * WebDataset, or Tiny-ImageNet's list. What is left out is counted.
 */
import { join } from "node:path";
import { CacheFolder } from "../../util/cache_folder.ts";
import { FileError } from "../../util/errors.ts";
import { openEntries } from "./entries.ts";
import {
  type ClassFolder,
  classOf,
  commonFolder,
  expandBraces,
  extensionOf,
  isImage,
  isRubbish,
  keyOf,
  partOf,
  TESTS,
  TRAIN,
} from "./names.ts";
import { labelsBeside } from "./sidecars.ts";
import type { Entries, Entry } from "./types.ts";

export interface ImageFile extends Entry {
  /** Undefined where nothing says it. */
  readonly className: string | undefined;
}

/** How a source is read; what is unset is as before there was such a setting. */
export interface Reading {
  readonly kind: "folder" | "archive";
  /** An archive's may be a pattern of shards: `shard-{000..041}.tar`. */
  readonly path: string;
  readonly test?: string | undefined;
  /** auto: a folder `train` below the root is what is trained on, one beside it the test part. Unset: merge. */
  readonly splits?: "auto" | "merge" | undefined;
  /** Unset: deepest. */
  readonly classFolder?: ClassFolder | undefined;
}

export interface Listing {
  readonly train: readonly ImageFile[];
  readonly test: readonly ImageFile[] | undefined;
  /** Files that are no images that can be read, by extension. */
  readonly leftOut: Readonly<Record<string, number>>;
  /** What a person should hear: which parts were found, what was not followed. */
  readonly notes: readonly string[];
}

interface ListingContext {
  readonly cache: string;
  readonly cacheLimit?: number | undefined;
  readonly log: (message: string) => void;
}

/**
 * Sorted by name, so that the order does not depend on the disk.
 *
 * @throws FileError for a source that is not there, cannot be read, or holds no images.
 */
export async function listImages(of: Reading, context: ListingContext): Promise<Listing> {
  const main = await openAll(of, of.path, context);
  const own = await partsOf(of, main);
  const other = of.test ? await openAll(of, of.test, context) : undefined;
  const test = other && (await imagesOf(of.test as string, strip(other), of.classFolder));
  const leftOut: Record<string, number> = {};
  const used = [own.used, test?.used];
  for (const { name, read } of [...main.entries, ...(other?.entries ?? [])]) {
    if (isImage(name) || used.some((files) => files?.has(read))) continue;
    const extension = extensionOf(name);
    leftOut[extension] = (leftOut[extension] ?? 0) + 1;
  }
  const left = Object.entries(leftOut).sort(([, a], [, b]) => b - a);
  return {
    train: own.train,
    test: test?.train ?? own.test,
    leftOut: Object.fromEntries(left),
    notes: [
      ...main.notes,
      ...(other?.notes ?? []),
      ...own.notes,
      ...(left.length > 0 ? [`left out: ${left.map(([extension, count]) => `${count} ${extension}`).join(", ")}`] : []),
    ],
  };
}

/** One source, or all shards of a pattern. */
async function openAll({ kind }: Reading, path: string, context: ListingContext): Promise<Entries> {
  const { cache, cacheLimit = Number.POSITIVE_INFINITY, log } = context;
  const files = new CacheFolder(cache, cacheLimit, log);
  const opened = [];
  for (const file of kind === "archive" ? expandBraces(path) : [path]) {
    opened.push(await openEntries(kind, file, files, log));
  }
  const all = opened.flatMap(({ entries }) => entries);
  const kept = all.filter(({ name }) => !isRubbish(name));
  if (!kept.some(({ name }) => isImage(name))) {
    const found = [...new Set(kept.map(({ name }) => extensionOf(name)))].slice(0, 8).join(", ");
    throw new FileError(
      path,
      `holds no images (JPEG, PNG, WebP, GIF, TIFF, AVIF, BMP, PPM or PGM)${found ? `; it has ${found}` : ""}`,
    );
  }
  return { entries: kept, archive: opened.some(({ archive }) => archive), notes: opened.flatMap(({ notes }) => notes) };
}

/** The files without the one folder that an archive often has around everything. */
function strip({ entries, archive }: Entries): readonly Entry[] {
  const folder = archive ? commonFolder(entries.map(({ name }) => name)) : "";
  return folder === "" ? entries : entries.map((entry) => ({ ...entry, name: entry.name.slice(folder.length) }));
}

interface Parts extends Pick<Listing, "train" | "test" | "notes"> {
  /** Files that are no images, and not left out either, by what reads them: their names differ from part to part. */
  readonly used: ReadonlySet<Entry["read"]>;
}

async function partsOf({ path, splits = "merge", classFolder }: Reading, opened: Entries): Promise<Parts> {
  const files = strip(opened);
  const images = files.filter(({ name }) => isImage(name));
  const below = (part: string, all: readonly Entry[] = files) =>
    all
      .filter(({ name }) => partOf(name) === part)
      .map((entry) => ({ ...entry, name: entry.name.slice(part.length + 1) }));
  const train = TRAIN.find((part) => below(part, images).length > 0);
  if (!train) return { ...(await imagesOf(path, files, classFolder)), test: undefined };
  const beside = TESTS.filter((part) => below(part, images).length > 0);
  if (splits === "merge") {
    const merged = files.map((entry) => {
      const part = partOf(entry.name);
      return part === train || beside.includes(part as string)
        ? { ...entry, name: entry.name.slice((part as string).length + 1) }
        : entry;
    });
    // Before there were parts their names were folders like others.
    return { ...(await imagesOf(path, classFolder === undefined ? files : merged, classFolder)), test: undefined };
  }
  const trained = await imagesOf(join(path, train), below(train), classFolder);
  const tests = await Promise.all(
    beside.map(async (part) => ({ part, ...(await imagesOf(join(path, part), below(part), classFolder)) })),
  );
  const known = new Set(trained.train.map(({ className }) => className));
  const isLabelled = ({ train: all }: Pick<Listing, "train">) =>
    all.every(({ className }) => className !== undefined && known.has(className));
  const test = tests.find(isLabelled) ?? tests[0];
  const others = images.length - trained.train.length - (test?.train.length ?? 0);
  return {
    train: trained.train,
    test: test?.train,
    used: new Set([...trained.used, ...tests.flatMap(({ used }) => [...used])]),
    notes: [
      `${train}/ is what is trained on (${trained.train.length} images)${test ? `, ${test.part}/ the test part (${test.train.length})` : ""}`,
      ...(others > 0 ? [`${others} images in other folders are left out; splits "merge" takes all`] : []),
      ...trained.notes,
      ...(test?.notes ?? []),
    ],
  };
}

/** All images of one part, in order. */
async function imagesOf(
  path: string,
  files: readonly Entry[],
  classFolder: ClassFolder = "deepest",
): Promise<Omit<Parts, "test">> {
  const beside = await labelsBeside(path, files);
  const images = files
    .filter(({ name }) => isImage(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(
      (entry): ImageFile => ({
        ...entry,
        className: beside.labels.get(keyOf(entry.name)) ?? classOf(entry.name, classFolder),
      }),
    );
  return { train: images, used: beside.used, notes: beside.notes };
}
