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

/**
 * Throws FileError unless `path`, every symbolic link in it resolved, is one of `roots` or below one. What it says does not
 * tell whether there is anything outside of them.
 */
export function expectWithin(path: string, roots: readonly string[] | undefined): void {
  if (!roots) return;
  const found = real(path);
  const inside = roots
    .map(real)
    .some((root) => found === root || found.startsWith(root.endsWith(sep) ? root : root + sep));
  if (!inside) throw new FileError(path, `datasets may lie below ${roots.join(", ")} only (MOCOD_DATASET_ROOTS)`);
}
