/** Where the files of an export go. */
import { statSync } from "node:fs";
import { extname, join } from "node:path";

/**
 * Paths of the files of run `id` by their suffixes, the main one's first.
 *
 * @param out - A folder, in which they have the names that they have in a job's; or the path of the main file, after which the others are
 * named: `clip.onnx`, `clip.text.onnx`. Unset: the current folder.
 */
export function exportPaths(id: string, [main = "", ...others]: readonly string[], out = "."): string[] {
  if (statSync(out, { throwIfNoEntry: false })?.isDirectory()) {
    return [main, ...others].map((suffix) => join(out, id + suffix));
  }
  const end = out.endsWith(main) ? main : extname(out);
  const stem = out.slice(0, out.length - end.length);
  return [out, ...others.map((suffix) => stem + suffix)];
}
