/** The probe job: how good is a frozen encoder, beside the encoder it started as and the raw pixels? */
import type { Images } from "../data/types.ts";
import type { Look } from "../data/view.ts";
import { knnSearch, type Labelled, rightVotes } from "../evaluate/knn.ts";
import { standardiser } from "../evaluate/linear_probe.ts";
import { type Score, scoreOf } from "../evaluate/score.ts";
import { type ProbeSpec, protocols } from "../schema/evaluation.ts";
import type { Outcome } from "../train/reporter.ts";
import type { Embedding } from "../train/session.ts";
import { bestOf, carve, fitCount, gridOf } from "./choice.ts";
import type { EvaluationContext } from "./context.ts";
import { Evaluation, type Provenance } from "./evaluation.ts";
import { fitted } from "./fit.ts";

/** Of several settings, how each did on the validation split. */
interface Choice {
  lr: number;
  weightDecay: number;
  validation: number | null;
}

export interface Probed extends Score {
  knn: number;
  chosen: Choice;
  tried: Choice[];
}

export interface ProbeJobResult extends Probed, Provenance {
  protocol: ProbeSpec["protocol"];
  trainImages: number;
  testImages: number;
  classes: readonly string[];
  baselines: { pixels: Probed; untrained: Probed } | null;
}

/** Random crops and flips of an epoch, as main_lincls.py's training transform: the default scale, no jitter. */
function cropAndFlip(size: number, seed: number, epoch: number): Look {
  const jitter = { probability: 0, brightness: 0, contrast: 0, saturation: 0, hue: 0 };
  const spec = { size, cropScale: [0.08, 1] as [number, number], flip: 0.5, jitter };
  return { kind: "random", seed, epoch, view: 2, spec: { ...spec, grey: 0, greyFirst: false, blur: 0, solarise: 0 } };
}

type Recipe = Pick<
  ProbeSpec,
  "protocol" | "epochs" | "batchSize" | "lr" | "momentum" | "weightDecay" | "schedule" | "seed"
>;

/** Raw pixels are always probed fast: the paper's rate of 30 is for features of a trained ResNet-50. */
function pixelRecipe(spec: ProbeSpec): Recipe {
  if (spec.protocol === "fast") return spec;
  const { lr, weightDecay, ...fast } = protocols.fast;
  return { ...spec, ...fast, protocol: "fast", lr: [...lr], weightDecay: [weightDecay] };
}

/** Images that are embedded or fitted on: see `Tally`. */
function imagesOf(spec: ProbeSpec, train: number, test: number): number {
  const judged = (recipe: Recipe) => {
    const settings = gridOf(recipe).length;
    const passes = recipe.protocol === "fast" ? 1 : recipe.epochs;
    const chosen = settings > 1 ? settings * passes * fitCount(train, spec.validation) : 0;
    return train + test + chosen + passes * train;
  };
  return spec.baselines ? 2 * judged(spec) + judged(pixelRecipe(spec)) : judged(spec);
}

/** Trains on the training images that were not held out; the test images are looked at once, at the end. */
export function probe(spec: ProbeSpec, context: EvaluationContext): Promise<Outcome<ProbeJobResult>> {
  return Evaluation.run(spec, context, async (evaluation) => {
    const { session, dataset, classes } = evaluation;
    const { train: indices, test, everything } = evaluation.labelledParts();

    const judge = async (name: string, embedding: Embedding, recipe: Recipe): Promise<Probed> => {
      const settings = gridOf(recipe);
      const fast = recipe.protocol === "fast";
      const look: Look = { kind: "centre", share: spec.centreCrop };
      const features = (which: string, images: Images, of: Int32Array) =>
        evaluation.labelled(`${name}/${which}`, images, of, { ...embedding, look });
      const bank = await features("bank", dataset.train, indices);
      const { dim } = bank;
      const size = embedding.size ?? session.spec.augmentation.size;
      /** Trains on the first `count` rows, and hands a function that scores other features to `use`. */
      const fit = <T>(
        which: string,
        count: number,
        s: Choice,
        use: (logits: (rows: Float32Array) => Float32Array) => Promise<T>,
      ): Promise<T> => {
        const rows = bank.features.subarray(0, count * dim);
        const standard = fast ? standardiser(rows, dim) : (x: Float32Array) => x;
        const cropped = (of: string, epoch: number) =>
          evaluation.features(of, dataset.train, indices.subarray(0, count), {
            ...embedding,
            look: cropAndFlip(size, spec.seed, epoch),
          });
        return fitted(
          evaluation,
          {
            name: `${name}/${which}`,
            rows: { features: standard(rows), labels: bank.labels.subarray(0, count), dim },
            classes,
            settings: { ...recipe, ...s },
            featuresOf: fast ? undefined : cropped,
          },
          (classifier) => use((x) => classifier.logits(standard(x))),
        );
      };
      const tried: Choice[] = [];
      if (settings.length > 1) {
        const { fit: fitRows, choose } = carve(bank, dim, spec.validation);
        for (const [i, s] of settings.entries()) {
          const which = `validation-${i}`;
          const validation = await evaluation.part(`${name}/${which}`, () =>
            fit(
              which,
              fitRows.labels.length,
              { ...s, validation: null },
              async (logits) => scoreOf(logits(choose.features), choose.labels, classes).top1,
            ),
          );
          tried.push({ ...s, validation });
        }
      } else tried.push({ ...(settings[0] as (typeof settings)[number]), validation: null });
      const chosen = bestOf(tried);
      return fit("fit", bank.labels.length, chosen, async (logits) => {
        const queries: Labelled = await features("queries", test, everything);
        let right = 0;
        for (const some of knnSearch(bank, queries.features, dim, classes, [spec.knn])) {
          right += rightVotes(some, queries.labels, classes);
          await evaluation.turn();
        }
        return {
          ...scoreOf(logits(queries.features), queries.labels, classes),
          knn: right / queries.labels.length,
          chosen,
          tried,
        };
      });
    };

    evaluation.begin(imagesOf(spec, indices.length, everything.length));
    const part = (name: string, embedding: Embedding, recipe: Recipe) =>
      evaluation.part(name, () => judge(name, embedding, recipe));
    const backbone: Embedding = { what: "backbone", blocks: spec.blocks };
    const baselines = spec.baselines
      ? {
          untrained: await part("untrained", backbone, spec),
          pixels: await part("pixels", evaluation.pixelEmbedding(), pixelRecipe(spec)),
        }
      : null;
    const judged = await evaluation.onFrozen(() => part("trained", backbone, spec));
    return {
      ...judged,
      protocol: spec.protocol,
      trainImages: indices.length,
      testImages: everything.length,
      classes: dataset.classes,
      baselines,
    };
  });
}
