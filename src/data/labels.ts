/** Classes of images, as numbers. */
import { join } from "node:path";
import { FileError } from "../util/errors.ts";
import type { ImageFile } from "./listing/index.ts";

/** The classes of some images, sorted. */
export function classesOf(files: readonly ImageFile[]): string[] {
  const classes = new Set<string>();
  for (const { className } of files) if (className !== undefined) classes.add(className);
  return [...classes].sort();
}

/** i32[files], or undefined where one has no class. Throws FileError for a class that is not in `classes`. */
export function labelsOfFiles(
  source: string,
  files: readonly ImageFile[],
  classes: readonly string[],
): Int32Array | undefined {
  const index = new Map(classes.map((name, i) => [name, i]));
  const labels = new Int32Array(files.length);
  for (const [i, { name, className }] of files.entries()) {
    if (className === undefined) return undefined;
    const label = index.get(className);
    if (label === undefined) {
      throw new FileError(join(source, name), `class ${className} is not among the training classes`);
    }
    labels[i] = label;
  }
  return labels;
}
