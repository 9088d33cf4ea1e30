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

const isBucket = (path: string) => path.startsWith("s3://");
const isBelow = (path: string, root: string, slash: string) =>
  path === root || path.startsWith(root.endsWith(slash) ? root : root + slash);

/** Whether `path`, every symbolic link in it resolved, is one of `roots` or below one; a bucket has roots of its own. */
export function isWithin(path: string, roots: readonly string[] | undefined): boolean {
  if (!roots) return true;
  if (isBucket(path)) {
    const found = path.replace(/\/+$/, "");
    return roots.filter(isBucket).some((root) => isBelow(found, root.replace(/\/+$/, ""), "/"));
  }
  const found = real(path);
  return roots.filter((root) => !isBucket(root)).some((root) => isBelow(found, real(root), sep));
}

/** Throws FileError unless it is. What it says does not tell whether there is anything outside of them. */
export function expectWithin(path: string, roots: readonly string[] | undefined): void {
  if (!isWithin(path, roots))
    throw new FileError(path, `datasets may lie below ${roots?.join(", ")} only (MOCOD_DATASET_ROOTS)`);
}
