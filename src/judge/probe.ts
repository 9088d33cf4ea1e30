/** The probe job: how good is a frozen encoder, beside the encoder it started as and the raw pixels? */
import type { Images } from "../data/types.ts";
import type { Look } from "../data/view.ts";
import { knn, type Labelled } from "../evaluate/knn.ts";
import { type FitSettings, fitLinear, standardiser } from "../evaluate/linear_probe.ts";
import { type Score, scoreOf } from "../evaluate/score.ts";
import { type ProbeSpec, protocols } from "../schema/evaluation.ts";
import type { Outcome } from "../train/reporter.ts";
import { type Embedding, embed } from "../train/session.ts";
import { bestOf, carve, Evaluation, type EvaluationContext, gridOf, type Provenance } from "./evaluation.ts";

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

/** Trains on the training images that were not held out; the test images are looked at once, at the end. */
export function probe(spec: ProbeSpec, context: EvaluationContext): Promise<Outcome<ProbeJobResult>> {
  return Evaluation.run(spec, context, async (evaluation) => {
    const { session, dataset, classes } = evaluation;
    const { train: indices, test, everything } = evaluation.labelledParts();

    const judge = async (embedding: Embedding, recipe: Recipe = spec): Promise<Probed> => {
      const settings = gridOf(recipe);
      const look: Look = { kind: "centre", share: spec.centreCrop };
      const features = (images: Images, which: Int32Array) =>
        evaluation.labelled(images, which, { ...embedding, look });
      const bank = await features(dataset.train, indices);
      const { dim } = bank;
      const size = embedding.size ?? session.spec.augmentation.size;
      /** Trains on the first `count` rows; the answer scores other features, once. */
      const fit = async (count: number, s: Choice): Promise<(rows: Float32Array) => Float32Array> => {
        const rows = bank.features.subarray(0, count * dim);
        const standard = recipe.protocol === "fast" ? standardiser(rows, dim) : (x: Float32Array) => x;
        const plain = standard(rows);
        const epochFeatures = (epoch: number) =>
          recipe.protocol === "fast"
            ? plain
            : embed(session, dataset.train, indices.subarray(0, count), {
                ...embedding,
                look: cropAndFlip(size, spec.seed, epoch),
              });
        const fitted: FitSettings = { ...recipe, ...s };
        const labels = bank.labels.subarray(0, count);
        const classifier = await fitLinear(epochFeatures, labels, dim, classes, fitted, evaluation.pause);
        return (x) => {
          const logits = classifier.logits(standard(x));
          classifier.dispose();
          return logits;
        };
      };
      const tried: Choice[] = [];
      if (settings.length > 1) {
        const { fit: fitRows, choose } = carve(bank, dim, spec.validation);
        for (const s of settings) {
          const logits = (await fit(fitRows.labels.length, { ...s, validation: null }))(choose.features);
          tried.push({ ...s, validation: scoreOf(logits, choose.labels, classes).top1 });
        }
      } else tried.push({ ...(settings[0] as (typeof settings)[number]), validation: null });
      const chosen = bestOf(tried);
      const classifier = await fit(bank.labels.length, chosen);
      const queries: Labelled = await features(test, everything);
      return {
        ...scoreOf(classifier(queries.features), queries.labels, classes),
        knn: knn(bank, queries, dim, classes, spec.knn),
        chosen,
        tried,
      };
    };

    const backbone: Embedding = { what: "backbone", blocks: spec.blocks };
    const baselines = spec.baselines
      ? { untrained: await judge(backbone), pixels: await judge(evaluation.pixelEmbedding(), pixelRecipe(spec)) }
      : null;
    const judged = await evaluation.onFrozen(() => judge(backbone));
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
