/** The zero-shot job: images classified by the names of classes alone (Radford et al. 2021, section 3.1). */
import { unitRows } from "../evaluate/knn.ts";
import { count, noCounts, type Score, scoreOfCounts } from "../evaluate/score.ts";
import { PLACEHOLDER, type ZeroShotSpec } from "../schema/evaluation.ts";
import type { Outcome } from "../train/reporter.ts";
import { dimensionOf, type Embedding, labelsOf } from "../train/session.ts";
import { FileError, UserError } from "../util/errors.ts";
import type { EvaluationContext } from "./context.ts";
import { Evaluation, type Provenance } from "./evaluation.ts";

export interface ZeroShotResult extends Score, Provenance {
  images: number;
  /** As the prompts name them. */
  classes: readonly string[];
  templates: readonly string[];
  /** Prompts that are longer than the text tower's context, of which only the beginning counts. */
  cut: number;
}

/** @throws UserError where there are not as many as the dataset has. */
function namesOf({ classes }: ZeroShotSpec, own: readonly string[]): readonly string[] {
  if (classes === "dataset") return own;
  if (classes.length === own.length) return classes;
  throw new UserError(
    `spec.classes: got ${classes.length} names, allowed: ${own.length}, one for each class of the dataset in their order: ${own.slice(0, 20).join(", ")}`,
  );
}

/**
 * Unit rows f32[K, dim]: of each class the mean of the unit features of its prompts. `features` f32[K * T, dim], the T prompts of a
 * class after one another.
 */
function classRows(features: Float32Array, templates: number, dim: number): Float32Array {
  const prompts = unitRows(features, dim);
  const sums = new Float32Array(features.length / templates);
  prompts.forEach((value, at) => {
    const to = Math.floor(at / dim / templates) * dim + (at % dim);
    sums[to] = (sums[to] as number) + value;
  });
  return unitRows(sums, dim);
}

export function zeroShot(spec: ZeroShotSpec, context: EvaluationContext): Promise<Outcome<ZeroShotResult>> {
  return Evaluation.run(spec, context, async (evaluation) => {
    const { session, dataset } = evaluation;
    const images = dataset[spec.split];
    if (!images) throw new FileError(dataset.name, "has no test images: give spec.dataset.test");
    const everything = Int32Array.from({ length: images.count }, (_, i) => i);
    const labels = labelsOf(dataset, images, everything);
    const names = namesOf(spec, dataset.classes);
    const { templates } = spec;
    const prompts = names.flatMap((name) => templates.map((template) => template.replaceAll(PLACEHOLDER, name)));
    const embedding: Embedding = { what: "projection", look: { kind: "centre", share: spec.centreCrop } };
    evaluation.begin(images.count);
    const score = await evaluation.onFrozen(() =>
      evaluation.part("trained/score", async () => {
        const dim = dimensionOf(session, embedding);
        const table = evaluation.tokens(prompts);
        const classes = classRows(await evaluation.textFeatures("trained/prompts", table), templates.length, dim);
        const features = unitRows(await evaluation.features("trained/images", images, everything, embedding), dim);
        const counts = noCounts(names.length);
        labels.forEach((label, i) => {
          const image = features.subarray(i * dim, (i + 1) * dim);
          count(counts, cosinesWith(classes, image), Int32Array.of(label));
        });
        return { ...scoreOfCounts(counts), cut: table.cut };
      }),
    );
    return { ...score, images: images.count, classes: names, templates };
  });
}

/** rows f32[K, dim] by a vector f32[dim]: f32[K] */
function cosinesWith(rows: Float32Array, vector: Float32Array): Float32Array {
  const dim = vector.length;
  return Float32Array.from({ length: rows.length / dim }, (_, k) => {
    let sum = 0;
    for (let i = 0; i < dim; i++) sum += (rows[k * dim + i] as number) * (vector[i] as number);
    return sum;
  });
}
