/** The fine-tuning job: every weight goes on training, with a new classifier on top and few or many labels. */

import type { Images } from "../data/types.ts";
import { type Model, trainedParams, trainedStats } from "../engine/state.ts";
import { standardiser } from "../evaluate/linear_probe.ts";
import { type Score, scoreOf } from "../evaluate/score.ts";
import type { Layout } from "../nn/layout.ts";
import { type FineTuneSpec, protocols } from "../schema/evaluation.ts";
import type { SupervisedSpec } from "../schema/methods/supervised.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import { encodeSafetensors, type ToStore } from "../store/safetensors.ts";
import { addLayout } from "../train/checkpoint.ts";
import type { Outcome } from "../train/reporter.ts";
import { labelsOf, type Session, sessionOver } from "../train/session.ts";
import { Stream } from "../util/random.ts";
import { bestOf, fitCount, gridOf } from "./choice.ts";
import type { EvaluationContext } from "./context.ts";
import { Evaluation, type Provenance } from "./evaluation.ts";
import { fitted } from "./fit.ts";
import { tune } from "./tune.ts";

interface Setting {
  lr: number;
  weightDecay: number;
  /** Top-1 on the validation split; null where there was nothing to choose. */
  validation: number | null;
}

export interface FineTuned extends Score {
  chosen: Setting;
  tried: Setting[];
  /** Mean loss of the last epoch. */
  loss: number;
}

export interface FineTuneJobResult extends FineTuned, Provenance {
  labelledImages: number;
  testImages: number;
  classes: readonly string[];
  /** The fine-tuned model in the job's folder, with torchvision's names. */
  file: string;
  /** pixels: a linear classifier on them, of the same labels. */
  baselines: { untrained: FineTuned; pixels: Score } | null;
}

/** A share of every class alike, at least one image of each; in the order given. */
export function labelSubset(indices: Int32Array, labels: Int32Array, share: number): Int32Array {
  const total = new Map<number, number>();
  for (const label of labels) total.set(label, (total.get(label) ?? 0) + 1);
  const taken = new Map<number, number>();
  return indices.filter((_, i) => {
    const label = labels[i] as number;
    const have = taken.get(label) ?? 0;
    if (have >= Math.max(1, Math.round(share * (total.get(label) as number)))) return false;
    taken.set(label, have + 1);
    return true;
  });
}

/** What a classifier on the pretrained encoder is trained by. */
export function classifierSpec(
  pretrained: PretrainSpec,
  { layerDecay, cropScale, flip, seed, epochs, momentum }: FineTuneSpec,
  classes: number,
  batchSize: number,
  { lr, weightDecay }: Setting,
): SupervisedSpec {
  const { dataset, encoder, device, precision, logEvery, augmentation, monitor, checkpoint } = pretrained;
  const jitter = { ...augmentation.jitter, probability: 0 };
  return {
    method: "supervised",
    dim: classes,
    layerDecay,
    dataset,
    encoder,
    batchSize,
    splits: 1,
    norm: "split",
    epochs,
    seed,
    device,
    precision,
    logEvery,
    augmentation: { ...augmentation, cropScale, flip, jitter, grey: 0, blur: 0, solarise: 0 },
    optimizer: {
      algorithm: "sgd",
      lr,
      momentum,
      weightDecay,
      schedule: "cosine",
      per: "step",
      warmup: 0,
      // Which this schedule and algorithm do not use.
      beta2: pretrained.optimizer.beta2,
      milestones: pretrained.optimizer.milestones,
    },
    monitor,
    checkpoint,
  };
}

/** Copies the backbone from one layout to another by name; the heads differ. */
function copyBackbone(from: Layout, source: Float32Array, to: Layout, target: Float32Array): void {
  for (const { name, offset, size, part } of from.entries) {
    if (part === "backbone") target.set(source.subarray(offset, offset + size), to.get(name).offset);
  }
}

export function fineTune(spec: FineTuneSpec, context: EvaluationContext): Promise<Outcome<FineTuneJobResult>> {
  return Evaluation.run(spec, context, async (evaluation) => {
    const { session, dataset, classes } = evaluation;
    const { train: pool, test, everything } = evaluation.labelledParts();
    const order = new Stream(spec.seed, "subset", 1).permutation(pool.length).map((i) => pool[i] as number);
    const subset = labelSubset(order, labelsOf(dataset, dataset.train, order), spec.labels);
    const settings = gridOf(spec);
    const cut = fitCount(subset.length, spec.validation);

    const batchOf = (images: number) => Math.min(spec.batchSize, images);

    /** A classifier from the encoder as it is now, trained on some images, then handed to `use`. */
    const trained = async <T>(
      name: string,
      indices: Int32Array,
      s: Setting,
      use: (tuned: Session, loss: number) => Promise<T>,
    ) => {
      const tuned = await sessionOver(
        classifierSpec(context.pretrained, spec, classes, batchOf(indices.length), s),
        dataset,
        undefined,
        { ...context.computing, context: context.report },
      );
      try {
        const [from, to]: [Model, Model] = [session.model, tuned.model];
        copyBackbone(from.trained.params, trainedParams(from), to.trained.params, trainedParams(to));
        copyBackbone(from.trained.stats, trainedStats(from), to.trained.stats, trainedStats(to));
        const loss = await tune(evaluation, { name, session: tuned, indices, context });
        return await use(tuned, loss);
      } finally {
        evaluation.journal.drop(name);
        tuned.engine.close();
      }
    };

    const judge = async (name: string, keep: (tuned: Session) => Promise<unknown>): Promise<FineTuned> => {
      const tried: Setting[] = [];
      const logitsOf = (tuned: Session, which: string, images: Images, indices: Int32Array) =>
        evaluation.features(`${name}/${which}`, images, indices, { what: "projection" }, tuned);
      for (const [i, s] of settings.entries()) {
        const setting = { ...s, validation: null };
        if (settings.length === 1) {
          tried.push(setting);
          continue;
        }
        const choose = subset.slice(cut);
        const which = `validation-${i}`;
        const validation = await evaluation.part(`${name}/${which}`, () =>
          trained(`${name}/${which}`, subset.slice(0, cut), setting, async (tuned) => {
            const logits = await logitsOf(tuned, `${which}/logits`, dataset.train, choose);
            return scoreOf(logits, labelsOf(dataset, dataset.train, choose), classes).top1;
          }),
        );
        tried.push({ ...s, validation });
      }
      const chosen = bestOf(tried);
      return trained(`${name}/fit`, subset, chosen, async (tuned, loss) => {
        await keep(tuned);
        const logits = await logitsOf(tuned, "fit/logits", test, everything);
        return { ...scoreOf(logits, labelsOf(dataset, test, everything), classes), chosen, tried, loss };
      });
    };

    const pixels = async (): Promise<Score> => {
      const embedding = evaluation.pixelEmbedding();
      const rows = await evaluation.labelled("pixels/bank", dataset.train, subset, embedding);
      const standard = standardiser(rows.features, rows.dim);
      const { lr, weightDecay, ...fast } = protocols.fast;
      const fit = {
        name: "pixels/fit",
        rows: { ...rows, features: standard(rows.features) },
        classes,
        settings: { ...fast, lr: lr[1], weightDecay, momentum: spec.momentum, seed: spec.seed },
      };
      return fitted(evaluation, fit, async (classifier) => {
        const queries = await evaluation.labelled("pixels/queries", test, everything, embedding);
        return scoreOf(classifier.logits(standard(queries.features)), queries.labels, classes);
      });
    };

    const tunedImages = (images: number) => spec.epochs * batchOf(images) * Math.floor(images / batchOf(images));
    const perEncoder =
      (settings.length > 1 ? settings.length * (tunedImages(cut) + subset.length - cut) : 0) +
      tunedImages(subset.length) +
      test.count;
    evaluation.begin(spec.baselines ? 2 * perEncoder + 2 * subset.length + test.count : perEncoder);
    const baselines = spec.baselines
      ? {
          untrained: await evaluation.part("untrained", () => judge("untrained", async () => undefined)),
          pixels: await evaluation.part("pixels", pixels),
        }
      : null;
    const file = "model.safetensors";
    // Fine-tuning works on a copy: the pretrained backbone stays as it is, which `onFrozen` proves.
    // Not a part: one that was done would leave the file as an earlier life wrote it, whatever became of it since.
    const judged = await evaluation.onFrozen(() =>
      judge("trained", async ({ model }) => {
        const tensors: ToStore = new Map();
        addLayout(tensors, "", model.trained.params, trainedParams(model), 0);
        addLayout(tensors, "", model.trained.stats, trainedStats(model), 0);
        await context.own.writeFile(file, encodeSafetensors(tensors, { classes: JSON.stringify(dataset.classes) }));
      }),
    );
    const counts = { labelledImages: subset.length, testImages: everything.length };
    return { ...judged, ...counts, classes: dataset.classes, file, baselines };
  });
}
