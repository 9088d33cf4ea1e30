/** The fit of a linear classifier as part of an evaluation: it is resumed where an earlier life has left it. */
import { type ClassifierState, type FitSettings, fitLinear, type LinearClassifier } from "../evaluate/linear_probe.ts";
import type { StoredTensor } from "../store/safetensors.ts";
import { FileError } from "../util/errors.ts";
import type { Evaluation, LabelledRows } from "./evaluation.ts";
import type { Resumed } from "./journal.ts";

const names = ["weights", "bias", "weightsVelocity", "biasVelocity"] as const;

function stateOf({ tensors, file }: Pick<Resumed<object>, "tensors" | "file">): ClassifierState {
  const values = names.map((name) => {
    const data = tensors.get(name)?.data;
    if (!(data instanceof Float32Array)) throw new FileError(file, `tensor ${name}: expected f32, got none`);
    return [name, data];
  });
  return Object.fromEntries(values) as ClassifierState;
}

const tensorsOf = (classifier: LinearClassifier): Map<string, StoredTensor> =>
  new Map(Object.entries(classifier.state()).map(([name, data]) => [name, { shape: [data.length], data }]));

export interface Fit {
  /** Of the fit, unique in the evaluation. */
  readonly name: string;
  readonly rows: LabelledRows;
  readonly classes: number;
  readonly settings: FitSettings;
  /** Features of the images in an epoch, under a name of their own; unset: those of `rows` in every epoch. */
  readonly featuresOf?: ((name: string, epoch: number) => Promise<Float32Array>) | undefined;
}

/** Trains a classifier and hands it to `use`; it is in every checkpoint until `use` is done with it. */
export async function fitted<T>(
  evaluation: Evaluation,
  { name, rows, classes, settings, featuresOf }: Fit,
  use: (classifier: LinearClassifier) => Promise<T>,
): Promise<T> {
  const { epochs } = settings;
  const { features, labels, dim } = rows;
  const embedded = (epoch: number) => `${name}/epoch-${epoch}`;
  const resumed = evaluation.journal.resumed<{ epoch: number }>(name);
  const begun = resumed && { epoch: resumed.position.epoch, state: stateOf(resumed) };
  if (begun && featuresOf) evaluation.tally.skip(begun.epoch * labels.length);
  const turn = async (epoch: number, classifier: LinearClassifier) => {
    evaluation.journal.hold(name, async () => ({ position: { epoch }, tensors: tensorsOf(classifier) }));
    evaluation.journal.drop(embedded(epoch - 1));
    evaluation.tally.fitting(epoch, epochs);
    if (epoch === epochs && !featuresOf) evaluation.tally.advance(labels.length);
    await evaluation.turn();
  };
  const classifier = await fitLinear(
    (epoch) => featuresOf?.(embedded(epoch), epoch) ?? features,
    labels,
    dim,
    classes,
    settings,
    { begun, turn },
  );
  try {
    if (featuresOf && begun?.epoch !== epochs) await evaluation.keep();
    return await use(classifier);
  } finally {
    classifier.dispose();
    evaluation.journal.drop(name);
  }
}
