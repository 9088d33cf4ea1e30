/** The kNN job: weighted votes of the nearest training images, k and temperature chosen on a validation split. */
import type { Look } from "../data/view.ts";
import { knnSearch, type Labelled, type Vote } from "../evaluate/knn.ts";
import { type Counts, count, noCounts, type Score, scoreOfCounts } from "../evaluate/score.ts";
import type { KnnSpec } from "../schema/evaluation.ts";
import type { Outcome } from "../train/reporter.ts";
import type { Embedding } from "../train/session.ts";
import { bestOf, carve } from "./choice.ts";
import type { EvaluationContext } from "./context.ts";
import { Evaluation, type LabelledRows, type Provenance } from "./evaluation.ts";

interface Tried extends Vote {
  /** Top-1 on the validation split; null where there was nothing to choose. */
  validation: number | null;
}

export interface Voted extends Score {
  chosen: Tried;
  tried: Tried[];
}

/** Where a search is: so many queries, and their counts for each setting. */
interface Searched {
  done: number;
  counts: Counts[];
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

    /** Scores of several settings by one search, which is resumed after the queries that an earlier life has done. */
    const scores = async (name: string, bank: LabelledRows, queries: Labelled, which: readonly Vote[]) => {
      const { journal } = evaluation;
      const { done, counts } = journal.resumed<Searched>(name)?.position ?? {
        done: 0,
        counts: which.map(() => noCounts(classes)),
      };
      let from = done;
      journal.hold(name, async () => ({ position: { done: from, counts } satisfies Searched, tensors: new Map() }));
      for (const { rows, votes } of knnSearch(bank, queries.features, bank.dim, classes, which, done)) {
        const labels = queries.labels.subarray(from, from + rows);
        for (const [i, some] of votes.entries()) count(counts[i] as Counts, some, labels);
        from += rows;
        await evaluation.turn();
      }
      journal.drop(name);
      return counts.map(scoreOfCounts);
    };

    const judge = async (name: string, embedding: Embedding): Promise<Voted> => {
      const look: Look = { kind: "centre", share: spec.centreCrop };
      const bank = await evaluation.labelled(`${name}/bank`, dataset.train, indices, { ...embedding, look });
      const { fit, choose } = carve(bank, bank.dim, spec.validation);
      const validation = `${name}/validation`;
      const validated =
        settings.length > 1
          ? await evaluation.part(validation, async () =>
              (await scores(validation, { ...fit, dim: bank.dim }, choose, settings)).map(({ top1 }) => top1),
            )
          : undefined;
      const tried = settings.map((s, i): Tried => ({ ...s, validation: validated?.[i] ?? null }));
      const chosen = bestOf(tried);
      const queries = await evaluation.labelled(`${name}/queries`, test, everything, { ...embedding, look });
      const [score] = await scores(`${name}/search`, bank, queries, [chosen]);
      return { ...(score as Score), chosen, tried };
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
