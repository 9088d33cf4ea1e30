/**
 * The images of a folder or an archive, in which part each is and of what class: from the names of folders, the files of
 * WebDataset, or Tiny-ImageNet's list. What is left out is counted.
 */
import { join } from "node:path";
import type { TextsSetting } from "../../schema/dataset.ts";
import { CacheFolder, type CachePlace } from "../../util/cache_folder.ts";
import { FileError, UserError } from "../../util/errors.ts";
import type { Bucket } from "../types.ts";
import { entriesOfBucket } from "./bucket.ts";
import { openEntries } from "./entries.ts";
import type { Group } from "./groups.ts";
import { ImageNet, kaggleRoot } from "./imagenet.ts";
import { type ImageFile, Listed } from "./listed.ts";
import {
  type ClassFolder,
  classReader,
  commonFolder,
  expandBraces,
  extensionOf,
  firstFolder,
  isImage,
  isRubbish,
  keyOf,
  TESTS,
  TRAIN,
} from "./names.ts";
import { labelsBeside } from "./sidecars.ts";
import { textsBeside } from "./text_files.ts";
import type { Entries, Entry } from "./types.ts";

export type { ImageFile };

/** How a source is read; what is unset is as before there was such a setting. */
export interface Reading {
  readonly kind: "folder" | "archive" | "bucket";
  /** An archive's may be a pattern of shards: `shard-{000..041}.tar`. */
  readonly path: string;
  readonly test?: string | undefined;
  /** auto: a folder `train` below the root is what is trained on, one beside it the test part. Unset: merge. */
  readonly splits?: "auto" | "merge" | undefined;
  /** Unset: deepest. */
  readonly classFolder?: ClassFolder | undefined;
  /** Unset: texts are not looked for. */
  readonly texts?: TextsSetting | undefined;
}

export interface Listing {
  readonly train: readonly ImageFile[];
  readonly test: readonly ImageFile[] | undefined;
  /** Files that are no images that can be read, by extension. */
  readonly leftOut: Readonly<Record<string, number>>;
  /** What a person should hear: which parts were found, what was not followed. */
  readonly notes: readonly string[];
}

interface ListingContext extends CachePlace {
  readonly roots?: readonly string[] | undefined;
  readonly bucket?: ((url: string) => Bucket) | undefined;
}

/**
 * Sorted by name, so that the order does not depend on the disk.
 *
 * @throws FileError for a source that is not there, cannot be read, or holds no images.
 */
export async function listImages(of: Reading, context: ListingContext): Promise<Listing> {
  const main = await openAll(of, of.path, context);
  const imageNet = await ImageNet.beside(of.path, main.entries, context.roots);
  const own = await partsOf(of, main, imageNet);
  const other = of.test ? await openAll(of, of.test, context) : undefined;
  const test = other && (await testOf(of, other, own, context));
  const leftOut: Record<string, number> = {};
  const used = [own.used, imageNet.used, test?.used];
  for (const entry of [main, other].flatMap((of) => of?.entries.filter(({ name }) => !isImage(name)) ?? [])) {
    if (used.some((files) => files?.has(entry))) continue;
    const extension = extensionOf(entry.name);
    leftOut[extension] = (leftOut[extension] ?? 0) + 1;
  }
  const left = Object.entries(leftOut).sort(([, a], [, b]) => b - a);
  return {
    train: imageNet.named(own.train),
    test: imageNet.named(test?.train ?? own.test),
    leftOut: Object.fromEntries(left),
    notes: [
      ...main.notes,
      ...(other?.notes ?? []),
      ...own.notes,
      ...(test?.notes ?? []),
      ...(left.length > 0 ? [`left out: ${left.map(([extension, count]) => `${count} ${extension}`).join(", ")}`] : []),
    ],
  };
}

async function openBucket(url: string, { bucket }: ListingContext): Promise<Entries> {
  if (!bucket) throw new UserError(`${url}: buckets cannot be read here`);
  return { entries: await entriesOfBucket(url, bucket(url)), archive: false, notes: [] };
}

/** One source, or all shards of a pattern. */
async function openAll({ kind, texts }: Reading, path: string, context: ListingContext): Promise<Entries> {
  const files = CacheFolder.of(context);
  const opened: Entries[] = [];
  for (const file of kind === "archive" ? expandBraces(path) : [path]) {
    opened.push(
      kind === "bucket" ? await openBucket(path, context) : await openEntries(kind, file, files, context.log, texts),
    );
  }
  const kept = opened.flatMap(({ entries }) => entries).filter(({ name }) => !isRubbish(name));
  if (!kept.some(({ name }) => isImage(name))) {
    const found = [...new Set(kept.map(({ name }) => extensionOf(name)))].slice(0, 8).join(", ");
    throw new FileError(
      path,
      `holds no images (JPEG, PNG, WebP, GIF, TIFF, AVIF, BMP, PPM or PGM)${found ? `; it has ${found}` : ""}`,
    );
  }
  return { entries: kept, archive: opened.some(({ archive }) => archive), notes: opened.flatMap(({ notes }) => notes) };
}

/** The files from the root of the images on: Kaggle's ImageNet lies deep, and an archive often has one folder around everything. */
function rooted({ entries, archive }: Entries): Group {
  const deep = kaggleRoot(entries);
  if (deep) return { entries: entries.filter(({ name }) => name.startsWith(deep)), cut: deep.length };
  return { entries, cut: archive ? commonFolder(entries).length : 0 };
}

interface Parts extends Pick<Listing, "train" | "test" | "notes"> {
  /** Files that are no images, and not left out either. */
  readonly used: ReadonlySet<Entry>;
}

const classesIn = (images: readonly ImageFile[]) => new Set(images.map(({ className }) => className));

/** The files of each part that the first folders name, by its name in small letters. */
function parted({ entries, cut }: Group): Map<string, Group> {
  const parts = new Map<string, Entry[]>();
  // Files of one folder mostly follow each other.
  let [folder, part]: [string, Entry[] | undefined] = ["/", undefined];
  for (const entry of entries) {
    if (!entry.name.startsWith(folder, cut)) {
      const first = firstFolder(entry.name, cut);
      if (first === undefined) continue;
      folder = `${first}/`;
      const name = first.toLowerCase();
      part = parts.get(name);
      if (!part && (TRAIN.includes(name) || TESTS.includes(name))) {
        part = [];
        parts.set(name, part);
      }
    }
    part?.push(entry);
  }
  const withImages = [...parts].filter(([, all]) => all.some(({ name }) => isImage(name)));
  return new Map(withImages.map(([part, all]) => [part, { entries: all, cut: cut + part.length + 1 }]));
}

async function partsOf(of: Reading, opened: Entries, imageNet: ImageNet): Promise<Parts> {
  const { path, splits = "merge", classFolder } = of;
  const files = rooted(opened);
  const parts = parted(files);
  const train = TRAIN.find((part) => parts.has(part));
  if (!train) return { ...(await imagesOf(of, path, [files], imageNet)), test: undefined };
  const beside = TESTS.filter((part) => parts.has(part));
  const groupOf = (part: string) => parts.get(part) as Group;
  if (splits === "merge") {
    // Before there were parts their names were folders like others.
    const groups = classFolder === undefined ? [files] : mergedOf(files, [train, ...beside]);
    return { ...(await imagesOf(of, path, groups, imageNet)), test: undefined };
  }
  const trained = await imagesOf(of, join(path, train), [groupOf(train)], imageNet);
  const known = classesIn(trained.train);
  const tests = [];
  for (const part of beside) {
    tests.push({ part, ...(await imagesOf(of, join(path, part), [groupOf(part)], imageNet, known)) });
  }
  const isLabelled = ({ train: all }: Pick<Listing, "train">) =>
    all.every(({ className }) => className !== undefined && known.has(className));
  const test = tests.find(isLabelled) ?? tests[0];
  const images = opened.entries.filter(({ name }) => isImage(name)).length;
  const others = images - trained.train.length - (test?.train.length ?? 0);
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

/** The files in their order, those of the parts without the folders that name them. */
function mergedOf({ entries, cut }: Group, parts: readonly string[]): Group[] {
  const groups: { entries: Entry[]; cut: number }[] = [];
  for (const entry of entries) {
    const part = firstFolder(entry.name, cut)?.toLowerCase();
    const own = part !== undefined && parts.includes(part) ? cut + part.length + 1 : cut;
    const last = groups.at(-1);
    if (last?.cut === own) last.entries.push(entry);
    else groups.push({ entries: [entry], cut: own });
  }
  return groups;
}

/** The test images of a path of their own. */
async function testOf(of: Reading, opened: Entries, own: Parts, { roots }: ListingContext) {
  const test = of.test as string;
  const imageNet = await ImageNet.beside(test, opened.entries, roots);
  const found = await imagesOf(of, test, [rooted(opened)], imageNet, classesIn(own.train));
  return { ...found, used: new Set([...found.used, ...imageNet.used]) };
}

/** All images of one part, in order. */
async function imagesOf(
  { classFolder = "deepest", texts }: Reading,
  path: string,
  groups: readonly Group[],
  imageNet: ImageNet,
  trained?: ReadonlySet<string | undefined>,
): Promise<Omit<Parts, "test">> {
  const beside = await labelsBeside(path, groups);
  const validation = await imageNet.labelsOf(groups, trained);
  const textual = textsBeside(groups, texts);
  const images: Listed[] = [];
  for (const { entries, cut } of groups) {
    const classIn = classReader(cut, classFolder);
    for (const entry of entries) {
      if (!isImage(entry.name)) continue;
      const name = entry.name.slice(cut);
      const label = beside.labels.size > 0 ? beside.labels.get(keyOf(name)) : undefined;
      images.push(new Listed(name, label ?? validation.of(name) ?? classIn(entry.name), entry, textual?.of(name)));
    }
  }
  images.sort((a, b) => (a.name < b.name ? -1 : 1));
  const used = textual ? beside.used.union(textual.used) : beside.used;
  return { train: images, used, notes: [...beside.notes, ...validation.notes] };
}
