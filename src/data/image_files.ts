/** Any folder of images, or a tar of one, as a dataset. */
import type { DatasetSpec } from "../schema/dataset.ts";
import { holdImages, streamImages } from "./decode.ts";
import { classOf, listImages } from "./file_list.ts";
import type { DataContext, Dataset } from "./types.ts";

export type ImageFilesSpec = Extract<DatasetSpec, { kind: "folder" | "tar" }>;

/** Decoded images of more than this are streamed where the spec leaves it open. */
const HOLD_BYTES = 2 * 2 ** 30;

/** Whether so many images are decoded for every step anew. */
export function isStreamed({ access, size }: ImageFilesSpec, images: number): boolean {
  return access === "streamed" || (access === "auto" && images * size ** 2 * 3 > HOLD_BYTES);
}

/**
 * Held images are brought to size x size when the dataset is opened; streamed ones keep their proportions, with a
 * shorter side of at most `size`, and are decoded for every step anew.
 * Throws FileError for an empty source, and when more than `maxSkipped` of its images cannot be read.
 */
export async function loadImageFiles(spec: ImageFilesSpec, { log }: DataContext): Promise<Dataset> {
  const files = await listImages(spec.kind, spec.path);
  const names = new Set(files.map((file) => classOf(file.name)).filter((name) => name !== undefined));
  const classes = [...names].sort();
  const testFiles = spec.test ? await listImages(spec.kind, spec.test) : undefined;
  const open = isStreamed(spec, files.length + (testFiles?.length ?? 0)) ? streamImages : holdImages;
  const train = await open(spec.path, files, spec, classes, log);
  const test = testFiles && (await open(spec.test as string, testFiles, spec, classes, log));
  return {
    name: spec.path,
    train: train.images,
    test: test?.images,
    classes,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    skipped: train.skipped + (test?.skipped ?? 0),
  };
}
