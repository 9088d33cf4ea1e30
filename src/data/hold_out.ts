/** A test part for images that have classes and none: a share of each class. */
import { Stream } from "../util/random.ts";

/**
 * Indices of the images that are held out, by their classes. Of those alone, so every run on the same images holds out the same ones,
 * whatever its seed: a probe never sees in its test what another run was trained on, and runs can be compared. A class of one
 * image keeps it.
 */
export function heldOut(classes: readonly unknown[], share: number): Set<number> {
  const held = new Set<number>();
  const indices = classes.map((_, i) => i);
  for (const [index, own] of [...Map.groupBy(indices, (i) => classes[i]).values()].entries()) {
    const count = Math.min(own.length - 1, Math.max(1, Math.round(share * own.length)));
    const order = new Stream(0, "subset", index).permutation(own.length);
    for (const i of order.slice(0, count)) held.add(own[i] as number);
  }
  return held;
}

/** What a user is told of it. */
export const heldOutNote = (held: number, count: number, share: number): string =>
  `no test part: ${held} of ${count} images, ${100 * share}% of each class, are held out as one`;
