/** Some images of a dataset on one sheet, to be looked at before anything is trained on them. */
import { holdImages } from "../data/decode.ts";
import { isFiles, listParts, located } from "../data/image_files.ts";
import { readerFor } from "../data/reader.ts";
import type { DataContext } from "../data/types.ts";
import type { DatasetSpec } from "../schema/dataset.ts";
import { FileError, UserError } from "../util/errors.ts";
import { spread } from "../util/spread.ts";
import { spriteSheet } from "./views.ts";

/** Side of an image on the sheet, in pixels. */
const SIDE = 64;

/**
 * A PNG of at most `count` training images, evenly spread over the dataset in the order of their names, so that each class has its
 * share. No others are decoded; those that cannot be are left out.
 *
 * @throws UserError for a dataset that is not of files, FileError where none of the images can be read.
 */
export async function thumbnails(spec: DatasetSpec, count: number, context: DataContext): Promise<Buffer> {
  if (!isFiles(spec)) throw new UserError(`dataset: got kind ${spec.kind}, allowed: images in files`);
  const files = await located(spec, context);
  const { train, classes } = await listParts(files, context);
  const { reader } = await readerFor(files.path, train, spec);
  const chosen = spread(train, count);
  const sizes = { size: SIDE, maxSkipped: 1 };
  const { images } = await holdImages(spec.kind, { files: chosen }, sizes, classes, reader, context.log);
  if (images.count === 0) throw new FileError(spec.kind, `none of ${chosen.length} images can be read`);
  const indices = Int32Array.from({ length: images.count }, (_, i) => i);
  return spriteSheet(images, indices, Math.ceil(Math.sqrt(images.count)), SIDE);
}
