/** What is in a dataset by the names of its files: nothing is decoded or downloaded. */

import { existsSync } from "node:fs";
import type { DatasetSpec, Sighting } from "../schema/dataset.ts";
import { FileError } from "../util/errors.ts";
import { isFiles, listParts, located } from "./image_files.ts";
import { expectWithin } from "./roots.ts";
import type { DataContext } from "./types.ts";

/** Undefined for a dataset that is known by name and not given by a path. Throws FileError as loading it would. */
export async function sightDataset(spec: DatasetSpec, context: DataContext): Promise<Sighting | undefined> {
  for (const path of ["path" in spec ? spec.path : undefined, "test" in spec ? spec.test : undefined]) {
    if (path !== undefined) expectWithin(path, context.roots);
  }
  if (isFiles(spec)) {
    const { train, test, classes, notes } = await listParts(await located(spec, context), context);
    const isLabelled = train.every(({ className }) => className !== undefined);
    return { train: train.length, test: test?.length ?? null, classes: isLabelled ? classes.length : 0, notes };
  }
  if (spec.path !== undefined && !existsSync(spec.path)) throw new FileError(spec.path, "is not there");
  return undefined;
}
