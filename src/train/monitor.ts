/** What is measured at the end of an epoch: never on a test image, always in evaluation mode. */
import { spreadOf } from "../evaluate/health.ts";
import { knn } from "../evaluate/knn.ts";
import type { Layout } from "../nn/layout.ts";
import type { Spread } from "../schema/verdict.ts";
import type { Session } from "./session.ts";
import { dimensionOf, embed, labelled } from "./session.ts";

export interface Watched {
  /** Top-1 of the kNN vote on the held-out images; null where there are no labels. */
  knn: number | null;
  /** Of the projections of held-out images; null where none are held out. */
  spread: Spread | null;
}

export async function watch(session: Session): Promise<Watched> {
  const { dataset, parts, spec } = session;
  if (parts.holdout.length < 2) return { knn: null, spread: null };
  const projections = await embed(session, dataset.train, parts.holdout.slice(0, 1024), { what: "projection" });
  const spread = spreadOf(projections, dimensionOf(session, { what: "projection" }));
  if (!dataset.train.labels) return { knn: null, spread };
  const embedding = { what: spec.monitor.features };
  const bank = await labelled(session, dataset.train, parts.train.slice(0, spec.monitor.bank), embedding);
  const queries = await labelled(session, dataset.train, parts.holdout, embedding);
  const classes = dataset.classes.length;
  return { knn: knn(bank, queries, dimensionOf(session, embedding), classes, spec.monitor), spread };
}

/** Norm of the gradient by layer: `layer1.0.conv1`, … `fc.2`. A spike shows first in the earliest ones (MoCo v3). */
export function gradientNorms(layout: Layout, gradient: Float32Array): Record<string, number> {
  const squares = new Map<string, number>();
  for (const { name, offset, size } of layout.trainable) {
    const layer = name.slice(0, name.lastIndexOf("."));
    let sum = squares.get(layer) ?? 0;
    for (let i = offset; i < offset + size; i++) sum += (gradient[i] as number) ** 2;
    squares.set(layer, sum);
  }
  return Object.fromEntries([...squares].map(([layer, square]) => [layer, Math.sqrt(square)]));
}
