/** One step of a run: which images, which rates. The engine does the rest. */
import type { Engine } from "../engine/engine.ts";
import type { Position, StepMetrics } from "../engine/metrics.ts";
import { type Model, ringsOf, setSchedules } from "../engine/state.ts";
import { directionsOf, hasTexts, inOrder } from "../engine/units.ts";
import { type AnyMethod, methodOf } from "../methods/index.ts";
import type { RingSpec } from "../methods/method.ts";
import type { Entry } from "../nn/layout.ts";
import { learningRate, weightDecayAt } from "../optim/schedule.ts";
import type { TrainSpec } from "../schema/pretrain.ts";
import { type TokenTable, textOf } from "../text/table.ts";
import { Stream } from "../util/random.ts";
import type { Batches } from "./batches.ts";

export interface Trainer {
  readonly model: Model;
  readonly engine: Engine;
  readonly batches: Batches;
  /** Of the training images, where the method needs them: classes, and texts. */
  readonly labels?: ArrayLike<number> | undefined;
  readonly texts?: TokenTable | undefined;
}

/** Targets that one step pushes into a ring. */
export const pushedPerStep = (spec: Model["spec"], { direction }: RingSpec): number =>
  (direction === undefined ? directionsOf(spec) : 1) * spec.batchSize;

/** The share of all steps of the run that are done before `step`. */
const progressAt = ({ epochs }: TrainSpec, { stepsPerEpoch }: Batches, step: number): number =>
  step / (stepsPerEpoch * epochs);

/** Puts the batch of `step`, the order of its targets and its scheduled numbers into the buffers. */
export async function deal({ model, batches, labels, texts }: Trainer, step: number): Promise<void> {
  const { buffers, spec } = model;
  const shown = texts ? new Int32Array(spec.batchSize) : undefined;
  await batches.source.at(step, buffers.places, shown);
  buffers.batch.set(batches.indices(step));
  setSchedules(model, progressAt(spec, batches, step));
  if (hasTexts(spec)) dealTexts(model, texts, shown, Math.floor(step / batches.stepsPerEpoch));
  if (labels) buffers.labels.set(buffers.batch.map((index) => labels[index] as number));
  const { targets } = methodOf(spec);
  if (!targets) return;
  for (let direction = 0; direction < directionsOf(spec); direction++) {
    const order = targets.shuffled(spec)
      ? new Stream(spec.seed, "shuffle", step, direction).permutation(spec.batchSize)
      : inOrder(spec.batchSize);
    buffers.order.set(order, direction * spec.batchSize);
  }
}

/**
 * Puts one text of each image of the batch, drawn anew in every epoch, into the buffers. `shown`: the images that are really there,
 * one in place of each that is damaged.
 */
function dealTexts(
  { spec, buffers }: Model,
  texts: TokenTable | undefined,
  shown: Int32Array | undefined,
  epoch: number,
): void {
  if (!texts || !shown) throw new Error("the method needs texts, and the trainer has none");
  const context = buffers.tokens.length / spec.batchSize;
  shown.forEach((image, i) => {
    const text = textOf(texts, image, { seed: spec.seed, epoch });
    buffers.tokens.set(texts.tokens.subarray(text * context, (text + 1) * context), i * context);
    buffers.lengths[i] = texts.lengths[text] as number;
  });
}

/** Factor of the rate for each parameter, 0 for frozen ones; undefined: 1 for all. */
function ratesOf(method: AnyMethod, spec: TrainSpec, entries: readonly Entry[], lr: number): number[] | undefined {
  if (!method.rate && !entries.some(({ frozen }) => frozen)) return undefined;
  return entries.map((entry) => (entry.frozen ? 0 : (method.rate?.(spec, entry, lr) ?? 1)));
}

/**
 * Trains on the batch at `position` and moves it on. Gives the metrics of the steps that have become known, this one's
 * perhaps later.
 */
export async function trainStep(trainer: Trainer, position: Position): Promise<StepMetrics[]> {
  const { engine, batches, model } = trainer;
  const { spec, networks, trained } = model;
  const { step, pointers } = position;
  const { stepsPerEpoch } = batches;
  const method = methodOf(spec);
  const lr = learningRate(spec.optimizer, step / stepsPerEpoch, spec.epochs);
  await deal(trainer, step);
  const progress = progressAt(spec, batches, step);
  const known = await engine.train({
    step,
    epoch: Math.floor(step / stepsPerEpoch),
    pixels: batches.source.pixels,
    lr,
    weightDecay: weightDecayAt(spec.optimizer, progress),
    scale: ratesOf(method, spec, trained.params.entries, lr),
    averages: Object.fromEntries(
      networks.followers.map((name) => [name, networks.specOf(name).follows?.momentum(progress) as number]),
    ),
    pointers,
  });
  for (const [ring, of] of Object.entries(ringsOf(spec))) {
    pointers[ring] = ((pointers[ring] as number) + pushedPerStep(spec, of)) % of.rows;
  }
  position.step++;
  return known;
}
