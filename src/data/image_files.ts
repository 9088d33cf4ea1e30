/** Any collection of images as a dataset: a folder, an archive, shards of archives. */
import { createHash } from "node:crypto";
import type { DatasetSpec } from "../schema/dataset.ts";
import { CacheFolder, keyOf } from "../util/cache_folder.ts";
import { FileError, UserError } from "../util/errors.ts";
import { holdImages, type Keep, streamImages } from "./decode.ts";
import { DecodedCache } from "./decoded_cache.ts";
import { heldOut, heldOutNote } from "./hold_out.ts";
import { classesOf } from "./labels.ts";
import { type ImageFile, listImages, type Reading } from "./listing/index.ts";
import { listTable } from "./listing/table.ts";
import { type Reader, readerFor } from "./reader.ts";
import { type Part, readPart, type TextedListing, withPlaces } from "./texts.ts";
import { type DataContext, type Dataset, pixelBytes } from "./types.ts";

export type ImageFilesSpec = Extract<DatasetSpec, { kind: "folder" | "archive" | "tar" | "bucket" }>;

type StoredSpec = Extract<DatasetSpec, { kind: "stored" }>;
type TableSpec = Extract<DatasetSpec, { kind: "table" }>;

export const isFiles = (spec: DatasetSpec): spec is ImageFilesSpec | StoredSpec | TableSpec =>
  ["folder", "archive", "tar", "bucket", "stored", "table"].includes(spec.kind);

/** The same dataset as files of this machine. Throws UserError for an uploaded one that there is not. */
export async function located(
  spec: ImageFilesSpec | StoredSpec | TableSpec,
  { stored }: DataContext,
): Promise<ImageFilesSpec | TableSpec> {
  if (spec.kind !== "stored") return spec;
  if (!stored) throw new UserError(`dataset ${spec.id}: no store of uploaded datasets is known here`);
  const { id, kind, ...rest } = spec;
  return { ...rest, kind: "archive", path: await stored(id) };
}

/** How the spec's source is to be read. `tar` is what archives were called when no others were read. */
export const readingOf = ({ kind, path, test, splits, classFolder, texts }: ImageFilesSpec): Reading => ({
  kind: kind === "tar" ? "archive" : kind,
  path,
  test,
  splits,
  classFolder,
  texts,
});

/** Decoded images of more than this are streamed where the spec leaves it open. */
const HOLD_BYTES = 2 * 2 ** 30;

/** Whether so many images are decoded for every step anew. */
export function isStreamed(
  { access, size }: Pick<ImageFilesSpec, "access" | "size">,
  images: number,
  bytesOfPixel: number,
): boolean {
  return access === "streamed" || (access === "auto" && images * size ** 2 * bytesOfPixel > HOLD_BYTES);
}

export interface Parts extends TextedListing {
  readonly classes: readonly string[];
}

/**
 * The parts of a collection. Where there are classes and no test part, a share of each class is held out as one, if the spec says so.
 * Of a dataset with texts only images with a place where texts are; that place may turn out to be empty when it is read.
 *
 * @throws FileError for a source that is not there, cannot be read, holds no images, or no texts where they are asked for.
 */
export async function listParts(spec: ImageFilesSpec | TableSpec, context: DataContext): Promise<Parts> {
  const found = spec.kind === "table" ? listTable(spec) : await listImages(readingOf(spec), context);
  const classes = classesOf(found.train);
  const isLabelled = classes.length > 1 && found.train.every(({ className }) => className !== undefined);
  const listing = withPlaces(spec, found);
  const share = spec.holdout ?? 0;
  if (listing.test || !isLabelled || share === 0) return { ...listing, classes };
  const held = heldOut(
    listing.train.map(({ className }) => className),
    share,
  );
  const note = heldOutNote(held.size, listing.train.length, share);
  const part = (wanted: boolean) => listing.train.filter((_, i) => held.has(i) === wanted);
  return { ...listing, train: part(false), test: part(true), classes, notes: [...listing.notes, note] };
}

/** Of another format than this, what is kept counts for nothing. */
const FORMAT = 1;

/** What keeps the decoded images of one part of a collection, where the spec says so: a file for each way to read them. */
function keeperOf(
  { cache, path, size }: ImageFilesSpec | TableSpec,
  files: readonly ImageFile[],
  { identity }: Reader,
  context: DataContext,
): Keep | undefined {
  if (cache !== "disk") return undefined;
  return (slots) => {
    const names = createHash("sha256");
    for (const { name } of files) names.update(name).update("\0");
    const kept = CacheFolder.of(context);
    const file = kept.file("decoded", keyOf([FORMAT, path, size, identity, slots, names.digest("hex")]));
    const opened = DecodedCache.open(file, { ...slots, room: kept.roomFor(file) }, context.log);
    kept.used(file);
    return opened;
  };
}

/**
 * Held images are brought to size x size when the dataset is opened; streamed ones keep their proportions, with a
 * shorter side of at most `size`, and are decoded for every step anew.
 *
 * @throws FileError for an empty source, and when more than `maxSkipped` of its images cannot be read.
 */
export async function loadImageFiles(spec: ImageFilesSpec | TableSpec, context: DataContext): Promise<Dataset> {
  const { log } = context;
  const parts = await listParts(spec, context);
  const trained = await readPart(spec, "training", parts.train, context.alive);
  const tested = parts.test && (await readPart(spec, "test", parts.test, context.alive));
  const { reader } = await readerFor(spec.path, trained.files, spec);
  const notes = [...parts.notes, ...trained.notes, ...(tested?.notes ?? []), ...reader.notes];
  for (const note of notes) log(`${spec.path}: ${note}`);
  const count = trained.files.length + (tested?.files.length ?? 0);
  const isFiled = isStreamed(spec, count, pixelBytes(reader));
  const open = (source: string, part: Part) =>
    isFiled
      ? streamImages(source, part, spec, parts.classes, reader, log, keeperOf(spec, part.files, reader, context))
      : holdImages(source, part, spec, parts.classes, reader, log);
  const train = await open(spec.path, trained);
  const test =
    tested && tested.files.length > 0 ? await open(("test" in spec && spec.test) || spec.path, tested) : undefined;
  if (train.images.count === 0) throw new FileError(spec.path, "leaves no images to train on");
  return {
    name: spec.path,
    train: train.images,
    test: test?.images,
    classes: parts.classes,
    mean: reader.mean,
    std: reader.std,
    skipped: train.skipped + (test?.skipped ?? 0),
    notes,
  };
}
