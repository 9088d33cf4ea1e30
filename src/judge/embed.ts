/** The embed job: features of images, for whatever comes next. */
import type { Look } from "../data/view.ts";
import type { EmbedSpec } from "../schema/evaluation.ts";
import { encodeNpy } from "../store/npy.ts";
import { encodeSafetensors, type StoredTensor } from "../store/safetensors.ts";
import type { Outcome } from "../train/reporter.ts";
import { dimensionOf, type Embedding } from "../train/session.ts";
import { FileError } from "../util/errors.ts";
import type { EvaluationContext } from "./context.ts";
import { Evaluation, type Provenance } from "./evaluation.ts";

export interface EmbedJobResult extends Provenance {
  images: number;
  dimension: number;
  /** In the job's folder: features f32[N, F] and, where there are classes, labels i32[N]. */
  files: string[];
  classes: readonly string[];
}

/** All images of the split, in the dataset's order. */
export function embedImages(spec: EmbedSpec, context: EvaluationContext): Promise<Outcome<EmbedJobResult>> {
  return Evaluation.run(spec, context, async (evaluation) => {
    const { session, dataset } = evaluation;
    const images = dataset[spec.split];
    if (!images) throw new FileError(dataset.name, "has no test images: give spec.dataset.test");
    const look: Look = { kind: "centre", share: spec.centreCrop };
    const embedding: Embedding = { what: spec.features, blocks: spec.blocks, look };
    const everything = Int32Array.from({ length: images.count }, (_, i) => i);
    evaluation.begin(images.count);
    return evaluation.onFrozen(async () => {
      const dimension = dimensionOf(session, embedding);
      const features = await evaluation.features("trained/features", images, everything, embedding);
      const tensors = new Map<string, StoredTensor>([
        ["features", { shape: [images.count, dimension], data: features }],
      ]);
      const { own } = context;
      const files = [await own.writeFile("features.npy", encodeNpy([images.count, dimension], features))];
      if (images.labels) {
        tensors.set("labels", { shape: [images.count], data: BigInt64Array.from(images.labels, BigInt) });
        files.push(await own.writeFile("labels.npy", encodeNpy([images.count], images.labels)));
      }
      const metadata = { dataset: dataset.name, split: spec.split, classes: JSON.stringify(dataset.classes) };
      files.push(await own.writeFile("features.safetensors", encodeSafetensors(tensors, metadata)));
      return { images: images.count, dimension, files, classes: dataset.classes };
    });
  });
}
