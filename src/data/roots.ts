/** Where datasets may lie, where a worker's owner has said so. */
import { existsSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve, sep } from "node:path";
import { FileError } from "../util/errors.ts";

/** Links resolved as far as there is anything. */
function real(path: string): string {
  const absolute = resolve(path);
  if (existsSync(absolute)) return realpathSync(absolute);
  return join(real(dirname(absolute)), basename(absolute));
}

/** Whether `path`, every symbolic link in it resolved, is one of `roots` or below one. */
export function isWithin(path: string, roots: readonly string[] | undefined): boolean {
  if (!roots) return true;
  const found = real(path);
  return roots.map(real).some((root) => found === root || found.startsWith(root.endsWith(sep) ? root : root + sep));
}

/** Throws FileError unless it is. What it says does not tell whether there is anything outside of them. */
export function expectWithin(path: string, roots: readonly string[] | undefined): void {
  if (!isWithin(path, roots))
    throw new FileError(path, `datasets may lie below ${roots?.join(", ")} only (MOCOD_DATASET_ROOTS)`);
}
