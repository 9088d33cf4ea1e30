/** A test part for images that have classes and none: a share of each class. */
import { Stream } from "../util/random.ts";
import type { ImageFile } from "./listing/index.ts";

/**
 * Of the names alone, so every run on the same images holds out the same ones, whatever its seed: a probe never sees in its test what
 * another run was trained on, and runs can be compared. A class of one image keeps it.
 */
export function holdOut(
  files: readonly ImageFile[],
  share: number,
): { train: readonly ImageFile[]; heldOut: readonly ImageFile[] } {
  const byClass = Map.groupBy(files, ({ className }) => className);
  const held = new Set<ImageFile>();
  for (const [index, own] of [...byClass.values()].entries()) {
    const count = Math.min(own.length - 1, Math.max(1, Math.round(share * own.length)));
    const order = new Stream(0, "subset", index).permutation(own.length);
    for (const i of order.slice(0, count)) held.add(own[i] as ImageFile);
  }
  return { train: files.filter((file) => !held.has(file)), heldOut: files.filter((file) => held.has(file)) };
}
