/** The retrieval job: texts found by their images, and images by their texts. */
import { imagesOf, type Recall, ranks, recallOf, uniqueTexts } from "../evaluate/retrieval.ts";
import type { RetrievalSpec } from "../schema/evaluation.ts";
import type { Outcome } from "../train/reporter.ts";
import { dimensionOf, type Embedding } from "../train/session.ts";
import { textsOf } from "../train/texts.ts";
import { FileError } from "../util/errors.ts";
import { Stream } from "../util/random.ts";
import type { EvaluationContext } from "./context.ts";
import { Evaluation, type Provenance } from "./evaluation.ts";

export interface RetrievalResult extends Provenance {
  /** An image is the query, and its texts the right answers. */
  text: Recall;
  /** A text is the query, and all images that have it the right answers. */
  image: Recall;
  images: number;
  /** Different ones. */
  texts: number;
}

export function retrieve(spec: RetrievalSpec, context: EvaluationContext): Promise<Outcome<RetrievalResult>> {
  return Evaluation.run(spec, context, async (evaluation) => {
    const { session, dataset } = evaluation;
    const images = dataset[spec.split];
    if (!images) throw new FileError(dataset.name, "has no test images: give spec.dataset.test");
    const all = textsOf(dataset.name, images);
    const count = Math.min(images.count, spec.images ?? images.count);
    const chosen = new Stream(spec.seed, "subset", 0).permutation(images.count).slice(0, count).toSorted();
    const unique = uniqueTexts(Array.from(chosen, (image) => all[image] as readonly string[]));
    const embedding: Embedding = { what: "projection", look: { kind: "centre", share: spec.centreCrop } };
    evaluation.begin(count);
    return evaluation.onFrozen(() =>
      evaluation.part("trained/ranks", async () => {
        const dim = dimensionOf(session, embedding);
        const x = { features: await evaluation.features("trained/images", images, chosen, embedding), count };
        const y = { features: await evaluation.textFeatures(unique.texts), count: unique.texts.length };
        const recall = async (...of: Parameters<typeof ranks>): Promise<Recall> => {
          const found: number[] = [];
          for (const some of ranks(...of)) {
            found.push(...some);
            await evaluation.turn();
          }
          return recallOf(Int32Array.from(found));
        };
        return {
          text: await recall(x, y, unique.own, dim),
          image: await recall(y, x, imagesOf(unique), dim),
          images: count,
          texts: y.count,
        };
      }),
    );
  });
}
