/** What is measured at the end of an epoch: never on a test image, always in evaluation mode. */
import { spreadOf } from "../evaluate/health.ts";
import { knn } from "../evaluate/knn.ts";
import { type Recall, recallBothWays, uniqueTexts } from "../evaluate/retrieval.ts";
import type { Layout } from "../nn/layout.ts";
import type { Spread } from "../schema/verdict.ts";
import type { Session, SessionTexts } from "./session.ts";
import { dimensionOf, embed, labelled } from "./session.ts";
import { embedTexts, tableOf, textsOf } from "./texts.ts";

export interface Watched {
  /** Top-1 of the kNN vote on the held-out images; null where there are no labels. */
  knn: number | null;
  /** Of the projections of held-out images; null where none are held out. */
  spread: Spread | null;
  /** Of a method on pairs, among those held out: texts found by their images, and images by their texts. */
  recall?: { text: Recall; image: Recall; pairs: number };
}

/** Held-out images whose features are looked at as a whole. */
const LOOKED_AT = 1024;

export async function watch(session: Session): Promise<Watched> {
  const { dataset, parts, spec } = session;
  if (parts.holdout.length < 2) return { knn: null, spread: null };
  const some = parts.holdout.slice(0, LOOKED_AT);
  const projections = await embed(session, dataset.train, some, { what: "projection" });
  const spread = spreadOf(projections, dimensionOf(session, { what: "projection" }));
  const recall = session.texts ? { recall: await recallAmong(session, session.texts, some, projections) } : {};
  if (!dataset.train.labels) return { knn: null, spread, ...recall };
  const embedding = { what: spec.monitor.features };
  const bank = await labelled(session, dataset.train, parts.train.slice(0, spec.monitor.bank), embedding);
  const queries = await labelled(session, dataset.train, parts.holdout, embedding);
  const classes = dataset.classes.length;
  return { knn: knn(bank, queries, dimensionOf(session, embedding), classes, spec.monitor), spread, ...recall };
}

/** Recall among some pairs. `projections`: of their images. */
async function recallAmong(
  session: Session,
  { tokenizer }: SessionTexts,
  images: Int32Array,
  projections: Float32Array,
): Promise<NonNullable<Watched["recall"]>> {
  const { dataset, spec, model } = session;
  const all = textsOf(dataset.name, dataset.train);
  const unique = uniqueTexts(Array.from(images, (image) => all[image] as readonly string[]));
  const table = tableOf(unique.texts, tokenizer, spec);
  const x = { features: projections, count: images.length };
  const y = { features: await embedTexts(session, table), count: unique.texts.length };
  return { ...(await recallBothWays(x, y, unique, model.trained.dim)), pairs: images.length };
}

/** Norm of the gradient by layer: `layer1.0.conv1`, … `fc.2`. A spike shows first in the earliest ones (MoCo v3). */
export function gradientNorms(layout: Layout, gradient: Float32Array): Record<string, number> {
  const squares = new Map<string, number>();
  for (const { name, offset, size } of layout.trainable) {
    // A parameter of the network itself has no layer: `logit_scale`.
    const layer = name.includes(".") ? name.slice(0, name.lastIndexOf(".")) : name;
    let sum = squares.get(layer) ?? 0;
    for (let i = offset; i < offset + size; i++) sum += (gradient[i] as number) ** 2;
    squares.set(layer, sum);
  }
  return Object.fromEntries([...squares].map(([layer, square]) => [layer, Math.sqrt(square)]));
}
