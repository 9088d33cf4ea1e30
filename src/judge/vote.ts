/** The kNN job: weighted votes of the nearest training images, k and temperature chosen on a validation split. */
import type { Look } from "../data/view.ts";
import { knnVotes, type Labelled, type Vote } from "../evaluate/knn.ts";
import { type Score, scoreOf } from "../evaluate/score.ts";
import type { KnnSpec } from "../schema/evaluation.ts";
import type { Outcome } from "../train/reporter.ts";
import type { Embedding } from "../train/session.ts";
import { bestOf, carve } from "./choice.ts";
import { Evaluation, type EvaluationContext, type Provenance } from "./evaluation.ts";

interface Tried extends Vote {
  /** Top-1 on the validation split; null where there was nothing to choose. */
  validation: number | null;
}

export interface Voted extends Score {
  chosen: Tried;
  tried: Tried[];
}

export interface KnnJobResult extends Voted, Provenance {
  bankImages: number;
  testImages: number;
  classes: readonly string[];
  baselines: { pixels: Voted; untrained: Voted } | null;
}

export function vote(spec: KnnSpec, context: EvaluationContext): Promise<Outcome<KnnJobResult>> {
  return Evaluation.run(spec, context, async (evaluation) => {
    const { dataset, classes } = evaluation;
    const { train: indices, test, everything } = evaluation.labelledParts();
    const settings: Vote[] = spec.k.flatMap((k) => spec.temperature.map((temperature) => ({ k, temperature })));

    const judge = async (name: string, embedding: Embedding): Promise<Voted> => {
      const look: Look = { kind: "centre", share: spec.centreCrop };
      const bank = await evaluation.labelled(`${name}/bank`, dataset.train, indices, { ...embedding, look });
      const { dim } = bank;
      const scores = (of: Labelled, queries: Labelled, which: readonly Vote[]) =>
        knnVotes(of, queries.features, dim, classes, which).map((votes) => scoreOf(votes, queries.labels, classes));
      const { fit, choose } = carve(bank, dim, spec.validation);
      const validated = settings.length > 1 ? scores(fit, choose, settings) : undefined;
      const tried = settings.map((s, i): Tried => ({ ...s, validation: validated?.[i]?.top1 ?? null }));
      const chosen = bestOf(tried);
      const queries = await evaluation.labelled(`${name}/queries`, test, everything, { ...embedding, look });
      return { ...(scores(bank, queries, [chosen])[0] as Score), chosen, tried };
    };

    const judged = (name: string, embedding: Embedding) => evaluation.part(name, () => judge(name, embedding));
    evaluation.begin((spec.baselines ? 3 : 1) * (indices.length + everything.length));
    const embedding: Embedding = { what: spec.features, blocks: spec.blocks };
    const baselines = spec.baselines
      ? { untrained: await judged("untrained", embedding), pixels: await judged("pixels", evaluation.pixelEmbedding()) }
      : null;
    const voted = await evaluation.onFrozen(() => judged("trained", embedding));
    return {
      ...voted,
      bankImages: indices.length,
      testImages: everything.length,
      classes: dataset.classes,
      baselines,
    };
  });
}
