/** What a run will take, before it runs: memory (footprint.ts) and time, by steps of its own size on this machine. */
import type { FoundAdapter } from "../backend/adapters.ts";
import { agreed, chooseDevice } from "../backend/choose.ts";
import { partition } from "../data/index.ts";
import { datasetSize } from "../data/size.ts";
import type { DataContext } from "../data/types.ts";
import type { Computing } from "../engine/engine.ts";
import { gpuEngine } from "../engine/open.ts";
import { unitsOf } from "../engine/state.ts";
import type { Task } from "../engine/threads/tasks.ts";
import { openDevice } from "../kernels/index.ts";
import { lint } from "../schema/lint.ts";
import type { Plan } from "../schema/plan.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import { UserError } from "../util/errors.ts";
import { expectFit, type Footprint, footprint, hostFootprint } from "./footprint.ts";
import { dealNoise, rehearse } from "./rehearsal.ts";

/** Seconds of repetition: compilers of JavaScript and WASM need some before a step is as fast as it will be. */
const WARM_UP = 4;

/** What a device takes for a run: memory in bytes, seconds of a step and of embedding an image. */
export interface Estimate {
  device: string;
  memory: Footprint & { gpu: number };
  passes: number;
  step: number;
  image: number;
}

/** By steps of noise, of the run's own size. Throws UserError where the run does not fit. */
export async function estimate(
  spec: PretrainSpec,
  channels: number,
  computing: Computing,
  context: DataContext,
): Promise<Estimate & { why: string }> {
  await openDevice();
  const { found, why } = await chooseDevice(agreed(spec.device, computing.device));
  const of = found ? await onGpu(spec, channels, found, context) : await onThreads(spec, channels, computing.threads);
  return { ...of, why };
}

/** Throws UserError where the run does not fit, or the dataset does not fill a batch. */
export async function plan(spec: PretrainSpec, computing: Computing, context: DataContext): Promise<Plan> {
  const { threads } = computing;
  const size = await datasetSize(spec.dataset, context);
  const parts = partition({ count: size.images } as never, spec.monitor.holdout, spec.dataset.images, spec.seed);
  const images = parts.train.length;
  if (images < spec.batchSize) {
    throw new UserError(`spec.batchSize: the dataset leaves ${images} images to train on, got ${spec.batchSize}`);
  }
  const { device, why, memory, passes, step, image } = await estimate(spec, size.channels, computing, context);
  const held = size.streamed ? 3 * spec.batchSize * size.bytes : size.bytes;
  const stepsPerEpoch = Math.floor(images / spec.batchSize);
  const { everyEpochs, bank } = spec.monitor;
  const watch = everyEpochs > 0 ? (Math.min(bank, images) + parts.holdout.length) * image : 0;
  const votes = everyEpochs > 0 ? Math.ceil(spec.epochs / everyEpochs) + 1 : 0;
  return {
    ...{ device, why, threads: device === "wasm" ? threads : 1, images, passes },
    memory: { ...memory, images: held, total: memory.total + held },
    time: {
      ...{ step, stepsPerEpoch, watch, epoch: step * stepsPerEpoch },
      total: step * stepsPerEpoch * spec.epochs + watch * votes,
    },
    warnings: lint(spec, images).map(({ message }) => message),
  };
}

async function onThreads(spec: PretrainSpec, channels: number, threads: number): Promise<Estimate> {
  const memory = await footprint(spec, channels, threads);
  expectFit(spec, threads, memory);
  return { device: "wasm", memory: { ...memory, gpu: 0 }, passes: 1, ...(await timeStep(spec, channels, threads)) };
}

/** Steps of the whole batch, of noise, as the run will do them. */
async function onGpu(
  spec: PretrainSpec,
  channels: number,
  found: FoundAdapter,
  context: DataContext,
): Promise<Estimate> {
  const grey = Array(channels).fill(0.5) as number[];
  const { model, engine } = await gpuEngine(spec, { channels, mean: grey, std: grey }, found, context);
  try {
    const pixels = dealNoise(model, spec, channels);
    const seconds = async (work: () => Promise<unknown>) => {
      const start = performance.now();
      await work();
      return (performance.now() - start) / 1000;
    };
    const train = async (count: number) => {
      for (let step = 0; step < count; step++) {
        await engine.train({ step, epoch: 0, pixels, lr: 1e-9, queuePointer: 0 });
      }
      await engine.settle();
    };
    await train(2); // compiles
    const few = await seconds(() => train(1));
    const count = Math.max(1, Math.min(100, Math.round(WARM_UP / few)));
    const step = (await seconds(() => train(count))) / count;
    const { batchSize } = spec;
    const indices = Int32Array.from({ length: batchSize }, (_, i) => i);
    const { places } = model.buffers;
    const out = new Float32Array(batchSize * model.encoder.features);
    const task = {
      kind: "embed",
      what: "backbone",
      size: spec.augmentation.size,
      look: { kind: "centre", share: 1 },
    } as const;
    const embed = () => engine.embed({ ...task, pixels, places, indices, out });
    await embed();
    const image = (await seconds(embed)) / batchSize;
    const memory = { ...hostFootprint(spec, channels), gpu: await engine.memory() };
    return { device: engine.device, memory, passes: engine.passes, step, image };
  } finally {
    engine.close();
  }
}

/** Seconds of a step, and of the key encoder for one image: one split a thread at a time, of real size. */
async function timeStep(spec: PretrainSpec, channels: number, threads: number) {
  const busy = Math.min(threads, unitsOf(spec));
  const part: PretrainSpec = {
    ...spec,
    splits: busy,
    batchSize: (spec.batchSize / spec.splits) * busy,
    symmetric: false,
  };
  return rehearse(part, channels, threads, async ({ pool, pixels }) => {
    const timed = async (task: Task) => {
      const start = performance.now();
      await pool.run(task);
      return (performance.now() - start) / 1000;
    };
    const laps: { keys: number; queries: number; rest: number }[] = [];
    for (let spent = 0; laps.length < 3 || (spent < WARM_UP && laps.length < 200); ) {
      const keys = await timed({ kind: "keys", epoch: 0, pixels });
      const queries = await timed({ kind: "queries", epoch: 0, pixels, from: 0, to: busy });
      const reduce = await timed({ kind: "reduce", from: 0, to: busy });
      const rest = (await timed({ kind: "momentum" })) + (await timed({ kind: "update", lr: 1e-9, step: laps.length }));
      laps.push({ keys, queries: queries + reduce, rest });
      spent += keys + queries + reduce + rest;
    }
    const settled = laps.slice(Math.floor(laps.length / 2));
    const median = (of: (lap: (typeof laps)[number]) => number) =>
      settled.map(of).sort((a, b) => a - b)[Math.floor(settled.length / 2)] as number;
    const rounds = Math.ceil(unitsOf(spec) / busy);
    return {
      step: rounds * median((lap) => lap.keys + lap.queries) + median((lap) => lap.rest),
      image: median((lap) => lap.keys) / part.batchSize,
    };
  });
}
