/** How a batch is divided into units: splits, once for each direction. */
import { methodOf } from "../methods/index.ts";
import type { ViewSpec } from "../methods/method.ts";
import { type Entry, OWN, TEXT } from "../nn/layout.ts";
import type { TrainSpec } from "../schema/pretrain.ts";

export const directionsOf = (spec: TrainSpec): number => methodOf(spec).directions(spec);
/** Unit u is split u mod S of direction floor(u / S). */
export const unitsOf = (spec: TrainSpec): number => directionsOf(spec) * spec.splits;
/** @throws where the method has no such view. */
export function viewAt(spec: TrainSpec, view: number): ViewSpec {
  const found = methodOf(spec).views(spec)[view];
  if (!found) throw new Error(`there is no view ${view}`);
  return found;
}
export const viewsOf = (spec: TrainSpec): number => methodOf(spec).views(spec).length;

/** Whether every image comes with a text. */
export const hasTexts = (spec: TrainSpec): boolean => methodOf(spec).views(spec).includes("text");

/** Whether a parameter has a part in a unit of this view: the image encoder and its heads in one of images, the text tower in one of texts. */
export const hasPart = ({ part }: Pick<Entry, "part">, view: ViewSpec): boolean =>
  part === OWN || (part === TEXT) === (view === "text");

/** Whether batch norm normalises the splits of a batch together: they then go through each layer at the same time. */
export const splitsMeet = ({ norm, splits }: TrainSpec): boolean => norm === "batch" && splits > 1;

export function unitAt({ splits }: TrainSpec, unit: number): { direction: number; split: number } {
  return { direction: Math.floor(unit / splits), split: unit % splits };
}

/** The view whose targets a direction's images are compared with. */
export const targetView = (direction: number, views: number): number => (direction + 1) % views;

/**
 * Which batch positions each split has: split s takes s, s+S, s+2S, ... (interleaved, as the CIFAR demo's
 * SplitBatchNorm views its batch), of the batch itself or of a permutation of it.
 */
export function splitPositions(order: ArrayLike<number>, split: number, splits: number): number[] {
  const positions: number[] = [];
  for (let i = split; i < order.length; i += splits) positions.push(order[i] as number);
  return positions;
}

export const inOrder = (batchSize: number): number[] => Array.from({ length: batchSize }, (_, i) => i);
