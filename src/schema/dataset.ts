import { z } from "zod";

const path = z.string().min(1).describe("a folder or file on the worker's machine");
const images = z.int().min(16).optional().describe("use only so many training images, drawn by `seed`; unset: all");
const side = z
  .int()
  .min(8)
  .max(512)
  .describe(
    "held images: the side they are brought to, by centre crop; streamed ones: the longest that a shorter side may be",
  );
const maxSkipped = z
  .number()
  .min(0)
  .max(1)
  .default(0.01)
  .describe("share of unreadable images above which the job fails");

const access = z
  .enum(["auto", "held", "streamed"])
  .default("auto")
  .describe("held: decoded once into memory; streamed: decoded for every step anew; auto: held up to 2 GB");

const cache = z
  .enum(["none", "disk"])
  .optional()
  .describe(
    "disk: streamed images are decoded once, and kept as pixels in the worker's cache (MOCOD_CACHE_LIMIT); unset: none",
  );

const archive = path.describe(
  "a tar, tar.gz, tar.zst or zip on the worker's machine, or shards of them by a pattern: shard-{000..041}.tar",
);
const archives: { readonly [kind: string]: typeof path } = { archive, tar: archive };

/** In a job of before there were these, they are unset and mean what they are said to. A new job has `filesDefaults`. */
const reading = {
  splits: z
    .enum(["auto", "merge"])
    .optional()
    .describe(
      "auto (new jobs): a folder `train` is what is trained on, and `test` or `val` beside it the test part; merge: everything is trained on",
    ),
  classFolder: z
    .enum(["first", "deepest"])
    .optional()
    .describe(
      "which of an image's folders is its class: the first below the root (new jobs), or the one that it lies in",
    ),
  holdout: z
    .number()
    .min(0)
    .max(0.5)
    .optional()
    .describe(
      "share of each class that is held out as the test part, where there are classes and no test part (new jobs: 0.1); 0: none",
    ),
};
const range = z
  .union([z.enum(["dtype", "percentile"]), z.tuple([z.number(), z.number()])])
  .refine((of) => typeof of === "string" || of[0] < of[1], "must be [low, high] with low below high")
  .optional()
  .describe(
    "what becomes 0 and 1 of images deeper than 8 bits: dtype (new jobs): the range of their type, of floats 0 to 1; " +
      "percentile: the 0.5th and 99.5th of each channel; [low, high]: these",
  );
const bands = z
  .array(z.int().min(1).max(64))
  .min(1)
  .max(64)
  .optional()
  .describe("channels of the files that are used, counted from 1, in this order; unset: all");
/** What may stand in `texts`. */
export const TEXTS_ALLOWED = '"beside", or names of fields or columns';
/** What a text column may be called, and how many there may be. */
const textNames = z.array(z.string().min(1)).min(1).max(16);
const texts = z
  .union([z.literal("beside"), textNames], TEXTS_ALLOWED)
  .optional()
  .describe(
    "texts of the images: beside: a .txt beside each, one text a line; names: fields of a .json beside it or columns of " +
      "Parquet, each a text or a list of texts; images without one are left out; unset: none are read",
  );
export type TextsSetting = NonNullable<z.infer<typeof texts>>;
export type RangeSetting = NonNullable<z.infer<typeof range>>;
export type BandsSetting = NonNullable<z.infer<typeof bands>>;

const filesKinds: readonly unknown[] = ["folder", "archive", "tar", "bucket", "stored"];
const filesDefaults = { splits: "auto", classFolder: "first", holdout: 0.1, range: "dtype" } as const;

/** A new job's dataset with what is left open. `"ds_…"` is all that a stored one needs; what is no dataset stays as it is. */
export function withReading(given: unknown): unknown {
  const dataset = typeof given === "string" && given.startsWith("ds_") ? { kind: "stored", id: given } : given;
  if (typeof dataset !== "object" || dataset === null) return dataset;
  const { kind } = dataset as { kind?: unknown };
  if (filesKinds.includes(kind)) return { ...filesDefaults, ...dataset };
  const { holdout, range } = filesDefaults;
  return kind === "array" || kind === "table" ? { holdout, range, ...dataset } : dataset;
}

const bucket = z
  .string()
  .regex(/^s3:\/\/[a-z0-9][a-z0-9.-]+[a-z0-9](\/.*)?$/, "must be s3://bucket or s3://bucket/prefix")
  .refine((url) => !/\/\.\.?(\/|$)/.test(url), "must have no . or .. between slashes")
  .describe("s3://bucket/prefix/, with credentials and endpoint of the worker's environment");

const imageFiles = <K extends "folder" | "archive" | "tar" | "bucket">(kind: K) =>
  z.strictObject({
    kind: z.literal(kind),
    path: kind === "bucket" ? bucket : (archives[kind] ?? path),
    test: (kind === "bucket" ? bucket : path).optional(),
    size: side.default(32),
    access,
    cache,
    maxSkipped,
    images,
    range,
    bands,
    texts,
    ...reading,
  });

export const datasetId = /^ds_[0-9a-z]{26}$/;
const stored = z.strictObject({
  kind: z.literal("stored"),
  id: z
    .string()
    .regex(datasetId, "must be the id of a dataset")
    .describe("of an archive that was uploaded: POST /v1/datasets"),
  size: side.default(32),
  access,
  cache,
  maxSkipped,
  images,
  range,
  bands,
  texts,
  ...reading,
});

const array = z.strictObject({
  kind: z.literal("array"),
  path: path.describe("a .npy, .npz, HDF5 or IDX file, gzipped or not, of images [N,H,W], [N,H,W,C] or [N,C,H,W]"),
  labels: path.optional().describe("whole numbers [N]; unset: those that the file has beside its images"),
  test: path.optional().describe("test images; unset: those that the file has, or a held-out part"),
  testLabels: path.optional().describe("of `test`"),
  arrays: z
    .strictObject({
      images: z.string().min(1).optional().describe("name of the images, as group/name in HDF5"),
      labels: z.string().min(1).optional().describe("name of the labels, in `labels` where that is set"),
    })
    .optional()
    .describe("names in a .npz or HDF5 file; unset: the first that is there of images, x, data and others"),
  images,
  range,
  bands,
  holdout: reading.holdout,
});

const column = (name: string, what: string) => z.string().min(1).default(name).describe(what);
const table = z.strictObject({
  kind: z.literal("table"),
  path: path.describe("a CSV with a header, or a file of a JSON object a line: a row for each image"),
  root: path.optional().describe("the folder that file names are below; unset: the table's own"),
  columns: z
    .strictObject({
      file: column("file", "column of the file's path below root"),
      label: column("label", "column of its class, where there is such a column"),
      part: column("part", "column that says train, test or val, where there is such a column"),
    })
    .default({ file: "file", label: "label", part: "part" }),
  size: side.default(32),
  access,
  cache,
  maxSkipped,
  images,
  range,
  bands,
  texts: textNames
    .optional()
    .describe(
      "columns of the images' texts; in lines of JSON a list is several texts; rows without one are left out; unset: none are read",
    ),
  holdout: reading.holdout,
});

const stl10 = z.strictObject({
  kind: z.literal("stl10"),
  path: path.describe(
    "the folder of STL-10's binary files: unlabeled_X.bin, train_X.bin, train_y.bin, test_X.bin, test_y.bin",
  ),
  part: z
    .enum(["unlabeled", "train"])
    .default("unlabeled")
    .describe("unlabeled: 100,000 images, for pretraining; train: the 5,000 with classes, for evaluations"),
  images,
});

/** Where the images come from. To add one: a schema here, a loader in `data/`, a line in `data/index.ts`. */
export const datasetSpec = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("fashion-mnist"), path: path.optional(), images }),
  z.strictObject({ kind: z.literal("cifar10"), path: path.optional(), images }),
  z.strictObject({ kind: z.literal("cifar100"), path: path.optional(), images }),
  imageFiles("folder"),
  imageFiles("archive"),
  imageFiles("bucket"),
  stored,
  table,
  array,
  stl10,
  imageFiles("tar").describe("the same as `archive`, by its earlier name"),
]);
export type DatasetSpec = z.infer<typeof datasetSpec>;

/** Every path that a spec has, by field. */
export const namedPathsOf = (spec: DatasetSpec): [field: string, path: string][] =>
  Object.entries(spec).filter(
    (entry): entry is [string, string] =>
      ["path", "root", "test", "labels", "testLabels"].includes(entry[0]) && typeof entry[1] === "string",
  );
export const pathsOf = (spec: DatasetSpec): string[] => namedPathsOf(spec).map(([, of]) => of);

/** What is in a dataset by the names of its files. */
export interface Sighting {
  /** Training images. */
  readonly train: number;
  /** Test images; null: there are none. Undefined: not known before it is read. */
  readonly test: number | null | undefined;
  /** Whether the training images have classes. Undefined: not known before it is read. */
  readonly classes: number | undefined;
  /** Of the images as they are held. */
  readonly channels: number;
  readonly notes: readonly string[];
}

/** A stored dataset as a new job reads it by default. */
export const storedSpec = (id: string): DatasetSpec => datasetSpec.parse({ kind: "stored", id, ...filesDefaults });

/** Texts of the images of a part. */
export interface TextsReport {
  /** Images that have one; the others are left out. */
  readonly images: number;
  readonly texts: number;
  /** Unicode code points of a text. */
  readonly meanCharacters: number;
  readonly mostCharacters: number;
  readonly withoutCount: number;
  /** The first images without a text, by name, and what is wrong with the file of one that has such a file. */
  readonly without: readonly string[];
}

/** One part of a dataset, every image of it decoded. */
export interface PartReport {
  readonly images: number;
  /** Images of each class; empty where there are none. */
  readonly classes: Readonly<Record<string, number>>;
  /** "width x height" and how many have it, most frequent first. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Files that cannot be decoded. */
  readonly brokenCount: number;
  /** Name and error of the first of them. */
  readonly broken: readonly string[];
  /** Per channel in [0, 1], over all pixels; null where there are none. */
  readonly mean: readonly (number | null)[];
  readonly std: readonly (number | null)[];
  /** Unset where the dataset's `texts` is. */
  readonly texts?: TextsReport | undefined;
}

export interface DatasetReport {
  readonly train: PartReport;
  readonly test: PartReport | null;
  /** Files that are no images that can be read, by extension. */
  readonly leftOut: Readonly<Record<string, number>>;
  /** Which parts were found, and what was not followed. */
  readonly notes: readonly string[];
}

/** Of `count` training images: how many are held out for the monitor, and how many are left to train on, at most `images`. */
export function shares(
  count: number,
  holdout: number,
  images: number | undefined,
): { heldOut: number; trained: number } {
  const heldOut = Math.min(holdout, Math.floor(count / 5));
  return { heldOut, trained: Math.min(images ?? count, count - heldOut) };
}

/** Whether texts are read with the images. */
export const hasTexts = (spec: DatasetSpec): boolean => "texts" in spec && spec.texts !== undefined;
