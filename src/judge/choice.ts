/** The choice among several settings, by a validation split carved from the training images. */
import type { Labelled } from "../evaluate/knn.ts";

/** How one of several settings did on the validation split; null where there was nothing to choose. */
export interface Validated {
  readonly validation: number | null;
}

/** The setting that did best, the first one among equals. */
export const bestOf = <T extends Validated>(tried: readonly T[]): T =>
  tried.reduce((a, b) => ((b.validation ?? 0) > (a.validation ?? 0) ? b : a));

/** Every pair of a rate and a weight decay. */
export const gridOf = (spec: { lr: readonly number[]; weightDecay: readonly number[] }) =>
  spec.lr.flatMap((lr) => spec.weightDecay.map((weightDecay) => ({ lr, weightDecay })));

/** How many of `count` to fit on where a `share` is kept to choose by, which is at least one. */
export const fitCount = (count: number, share: number): number => count - Math.max(1, Math.round(share * count));

/** Parts training rows into those to fit on and those to choose on: the last `share` of an order that is random. */
export function carve(rows: Labelled, dim: number, share: number): { fit: Labelled; choose: Labelled } {
  const count = rows.labels.length;
  const cut = fitCount(count, share);
  const part = (from: number, to: number): Labelled => ({
    features: rows.features.subarray(from * dim, to * dim),
    labels: rows.labels.subarray(from, to),
  });
  return { fit: part(0, cut), choose: part(cut, count) };
}
