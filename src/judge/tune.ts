/** The training of fine-tuning: it is resumed after the step at which an earlier life has left it. */
import { type Position, type StepMetrics, startPosition } from "../engine/metrics.ts";
import { snapshot, type TrainState } from "../engine/state.ts";
import { openBatches } from "../train/batches.ts";
import { restoreState, stateTensors } from "../train/checkpoint.ts";
import { LONG_STEP_MS } from "../train/pretrain.ts";
import { DivergedError } from "../train/reporter.ts";
import type { Session } from "../train/session.ts";
import { type Trainer, trainStep } from "../train/step.ts";
import type { EvaluationContext } from "./context.ts";
import type { Evaluation } from "./evaluation.ts";

interface Tuning {
  readonly name: string;
  /** Its model holds what the training begins with. */
  readonly session: Session;
  readonly indices: Int32Array;
  readonly context: Pick<EvaluationContext, "report" | "longStepMs">;
}

/** Where the training stands: beside the model's state, the losses of the newest epoch's steps. */
interface Standing {
  readonly position: Position;
  readonly losses: readonly number[];
}

/** Trains on `indices`; the model is left as it is then. Returns the mean loss of the last epoch. */
export async function tune(evaluation: Evaluation, { name, session, indices, context }: Tuning): Promise<number> {
  const { report, longStepMs = LONG_STEP_MS } = context;
  const { model, engine, dataset } = session;
  const { spec } = model;
  const batches = openBatches(dataset.train, indices, spec);
  const { stepsPerEpoch } = batches;
  const trainer: Trainer = { model, engine, batches, labels: dataset.train.labels };
  let position = startPosition(spec, []);
  const losses: number[] = [];
  const resumed = evaluation.journal.resumed<Standing>(name);
  if (resumed) {
    restoreState(resumed.tensors, resumed.file, model);
    position = resumed.position.position;
    losses.push(...resumed.position.losses);
    evaluation.tally.skip(position.step * spec.batchSize);
    if (position.passes) engine.passes = position.passes;
  }
  const begunAt = position.step;
  let known = begunAt;
  const absorb = (metrics: readonly StepMetrics[]) => {
    for (const { loss } of metrics as readonly { loss: number }[]) {
      known++;
      losses.push(loss);
      if (Number.isFinite(loss)) continue;
      throw new DivergedError(`the loss is ${loss} at step ${known}: submit it again with a lower spec.lr`);
    }
  };
  engine.load();

  const standing = (): Standing => ({ position: structuredClone(position), losses: losses.slice(-stepsPerEpoch) });
  /** The state before the step in hand, where steps are too long to be waited for: see `LONG_STEP_MS`. */
  let before: { state: TrainState; at: Standing } | undefined;
  let spare: TrainState | undefined;
  let long = false;
  evaluation.journal.hold(name, async () => {
    if (!before) absorb(await engine.settle());
    if (engine.passes) position.passes = engine.passes;
    const { state, at } = before ?? { state: model.state, at: standing() };
    return { position: at, tensors: stateTensors({ ...model, state }, at.position) };
  });
  while (position.step < stepsPerEpoch * spec.epochs) {
    evaluation.tally.fitting(Math.floor(position.step / stepsPerEpoch), spec.epochs, losses.at(-1) ?? null);
    await evaluation.turn();
    if (long) {
      spare = snapshot(model.state, spare);
      before = { state: spare, at: standing() };
    }
    const startedAt = performance.now();
    const step = trainStep(trainer, position);
    if (before && report.stopping) {
      const stopped = await Promise.race([step.then(() => false), report.stopping.then(() => true)]);
      if (stopped) await evaluation.turn();
    }
    absorb(await step);
    before = undefined;
    long = performance.now() - startedAt > longStepMs && engine.device === "wasm";
    evaluation.tally.advance(spec.batchSize);
    if (position.step % stepsPerEpoch === 0) absorb(await engine.settle());
  }
  if (position.step > begunAt) await evaluation.keep();
  return losses.slice(-stepsPerEpoch).reduce((sum, loss) => sum + loss, 0) / stepsPerEpoch;
}
