/** The retrieval job: texts found by their images, and images by their texts. */
import type { Images } from "../data/types.ts";
import { unitRows } from "../evaluate/knn.ts";
import { type Recall, recallBothWays, uniqueTexts } from "../evaluate/retrieval.ts";
import type { RetrievalSpec } from "../schema/evaluation.ts";
import type { RunStore } from "../store/run_store.ts";
import { encodeSafetensors, type ToStore } from "../store/safetensors.ts";
import type { Outcome } from "../train/reporter.ts";
import { dimensionOf, type Embedding } from "../train/session.ts";
import { textsOf } from "../train/texts.ts";
import { spriteSheet } from "../train/views.ts";
import { FileError } from "../util/errors.ts";
import { Stream } from "../util/random.ts";
import type { EvaluationContext } from "./context.ts";
import { Evaluation, type Provenance } from "./evaluation.ts";
import { galleryOf, type Pairs } from "./gallery.ts";

/** Unit features f32[N, C] of all images, and a line of each with its number and texts: what a search reads. */
export const FEATURES = "features.safetensors";
export const TEXTS = "texts.jsonl";
/** Some of the images, to be looked at. */
export const GALLERY = "gallery.json";
const THUMBNAILS = "thumbnails.png";

export interface RetrievalResult extends Provenance {
  /** An image is the query, and its texts the right answers. */
  text: Recall;
  /** A text is the query, and all images that have it the right answers. */
  image: Recall;
  images: number;
  /** Different ones. */
  texts: number;
  /** Of these, texts that are longer than the text tower's context, of which only the beginning counts. */
  cut: number;
  /** In the job's folder: what a search needs, and some images to look at. */
  files: string[];
}

export function retrieve(spec: RetrievalSpec, context: EvaluationContext): Promise<Outcome<RetrievalResult>> {
  return Evaluation.run(spec, context, async (evaluation) => {
    const { session, dataset } = evaluation;
    const images = dataset[spec.split];
    if (!images) throw new FileError(dataset.name, "has no test images: give spec.dataset.test, or spec.split train");
    const all = textsOf(dataset.name, images);
    const count = Math.min(images.count, spec.images ?? images.count);
    const chosen = new Stream(spec.seed, "subset", 0).permutation(images.count).slice(0, count).toSorted();
    const unique = uniqueTexts(Array.from(chosen, (image) => all[image] as readonly string[]));
    const embedding: Embedding = { what: "projection", look: { kind: "centre", share: spec.centreCrop } };
    evaluation.begin(count);
    return evaluation.onFrozen(async () => {
      const dim = dimensionOf(session, embedding);
      const table = evaluation.tokens(unique.texts);
      const x = { features: await evaluation.features("trained/images", images, chosen, embedding), count };
      const y = { features: await evaluation.textFeatures("trained/texts", table), count: unique.texts.length };
      const recalls = await evaluation.part("trained/ranks", () => recallBothWays(x, y, unique, dim, evaluation.turn));
      await evaluation.turn();
      const pairs = { chosen, images: x, texts: y, unique, dim, seed: spec.seed };
      const files = await leave(pairs, images, all, { evaluation, own: context.own });
      return { ...recalls, images: count, texts: y.count, cut: table.cut, files };
    });
  });
}

/** Writes the gallery, and what a search needs. `texts`: of all images of the split. */
async function leave(
  pairs: Pairs,
  split: Images,
  texts: readonly (readonly string[])[],
  { evaluation, own }: { evaluation: Evaluation; own: RunStore },
): Promise<string[]> {
  const { chosen, images, dim } = pairs;
  const gallery = galleryOf(pairs);
  await evaluation.turn();
  const sheet = await spriteSheet(split, Int32Array.from(gallery.images), gallery.thumbnails.columns);
  await evaluation.turn();
  const lines = Array.from(chosen, (image) => `${JSON.stringify({ image, texts: texts[image] })}\n`);
  const tensors: ToStore = new Map([
    ["images", { shape: [images.count, dim], make: () => unitRows(images.features, dim) }],
  ]);
  const metadata = { dataset: evaluation.dataset.name, channels: String(split.channels) };
  return [
    await own.writeFile(GALLERY, Buffer.from(JSON.stringify(gallery))),
    await own.writeFile(THUMBNAILS, sheet),
    await own.writeFile(TEXTS, Buffer.from(lines.join(""))),
    await own.writeFile(FEATURES, encodeSafetensors(tensors, metadata)),
  ];
}
