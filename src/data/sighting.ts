/** What is in a dataset by the names of its files: nothing is decoded or downloaded. */

import { existsSync, statSync } from "node:fs";
import { type DatasetSpec, pathsOf, type Sighting } from "../schema/dataset.ts";
import { FileError } from "../util/errors.ts";
import { formatOf } from "./deep/depth.ts";
import { isFiles, listParts, located } from "./image_files.ts";
import { loadDataset } from "./index.ts";
import { expectWithin } from "./roots.ts";
import { expectTexts } from "./texts.ts";
import type { DataContext } from "./types.ts";

/** Bytes of a file of arrays that is read to tell what is in it. */
const READ_AT_ONCE = 2 ** 29;

/** Refuses at once what would fail when the job starts. */
function refuse(error: FileError): never {
  throw error;
}

/** Undefined for a dataset that is known by name and not given by a path. Throws FileError as loading it would. */
export async function sightDataset(spec: DatasetSpec, context: DataContext): Promise<Sighting | undefined> {
  for (const path of pathsOf(spec)) expectWithin(path, context.roots);
  if (isFiles(spec)) {
    const files = await located(spec, context);
    const { train, test, classes, notes } = await listParts(files, context);
    await expectTexts(files, train);
    const channels = (await formatOf(files.path, train, spec, refuse))?.channels ?? 3;
    const isLabelled = train.every(({ className }) => className !== undefined);
    return {
      train: train.length,
      test: test?.length ?? null,
      classes: isLabelled ? classes.length : 0,
      channels,
      notes,
    };
  }
  for (const path of pathsOf(spec)) if (!existsSync(path)) throw new FileError(path, "is not there");
  if (spec.kind !== "array" || statSync(spec.path).size > READ_AT_ONCE) return undefined;
  const { train, test, classes, notes = [] } = await loadDataset(spec, context);
  return {
    train: train.count,
    test: test?.count ?? null,
    classes: train.labels ? classes.length : 0,
    channels: train.channels,
    notes,
  };
}
