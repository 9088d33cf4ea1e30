/** What a run will take, before it runs: memory (footprint.ts) and time, by steps of its own size on this machine. */
import type { FoundAdapter } from "../backend/adapters.ts";
import { agreed, chooseDevice } from "../backend/choose.ts";
import { partition } from "../data/partition.ts";
import { datasetSize } from "../data/size.ts";
import type { DataContext } from "../data/types.ts";
import type { Computing, Engine } from "../engine/engine.ts";
import { gpuEngine, type Tapes } from "../engine/open.ts";
import { type Phase, phasesOf } from "../engine/phases.ts";
import { type Model, ringsOf, threadsFor } from "../engine/state.ts";
import { directionsOf, unitsOf } from "../engine/units.ts";
import { openDevice } from "../kernels/index.ts";
import { methodOf } from "../methods/index.ts";
import { lint } from "../schema/lint.ts";
import type { Plan } from "../schema/plan.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import { UserError } from "../util/errors.ts";
import { expectFit, type Footprint, footprint, hostFootprint } from "./footprint.ts";
import { tapesOf, withImages } from "./memory.ts";
import { dealNoise, noiseStep, rehearse, rehearseCouple } from "./rehearsal.ts";

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
  const parts = partition(size.images, spec.monitor.holdout, spec.dataset.images, spec.seed);
  const images = parts.train.length;
  if (images < spec.batchSize) {
    throw new UserError(`spec.batchSize: the dataset leaves ${images} images to train on, got ${spec.batchSize}`);
  }
  const { device, why, memory, passes, step, image } = await estimate(spec, size.channels, computing, context);
  const stepsPerEpoch = Math.floor(images / spec.batchSize);
  const { everyEpochs, bank } = spec.monitor;
  const watch = everyEpochs > 0 ? (Math.min(bank, images) + parts.holdout.length) * image : 0;
  const votes = everyEpochs > 0 ? Math.ceil(spec.epochs / everyEpochs) + 1 : 0;
  return {
    device,
    why,
    threads: device === "wasm" ? threads : 1,
    tapes: tapesOf(spec, memory.tapes),
    images,
    passes,
    disk: size.disk,
    memory: withImages(memory, spec, size),
    time: {
      step,
      stepsPerEpoch,
      watch,
      epoch: step * stepsPerEpoch,
      total: step * stepsPerEpoch * spec.epochs + watch * votes,
    },
    warnings: lint(spec, images).map(({ message }) => message),
  };
}

async function onThreads(spec: PretrainSpec, channels: number, threads: number): Promise<Estimate> {
  const memory = await footprint(spec, channels, threads);
  expectFit(spec, memory);
  const times = await timeStep(spec, channels, threads, memory.tapes);
  return { device: "wasm", memory: { ...memory, gpu: 0 }, passes: 1, ...times };
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

/** Embeds the whole batch of a model. */
function embedBatch(model: Model, engine: Engine, pixels: Uint8Array): Promise<void> {
  const { spec, buffers, trained } = model;
  const shared = (length: number) => new SharedArrayBuffer(4 * length);
  const indices = new Int32Array(shared(spec.batchSize)).map((_, i) => i);
  return engine.embed({
    kind: "embed",
    blocks: 1,
    what: "backbone",
    size: spec.augmentation.size,
    look: { kind: "centre", share: 1 },
    pixels,
    places: buffers.places,
    indices,
    out: new Float32Array(shared(spec.batchSize * trained.features)),
  });
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
    const pixels = dealNoise(model, channels);
    const rings = Object.keys(ringsOf(spec));
    const train = async (count: number) => {
      for (let step = 0; step < count; step++) {
        await engine.train(noiseStep(pixels, step, rings, model.networks.followers));
      }
      await engine.settle();
    };
    await train(2); // compiles
    const few = await seconds(() => train(1));
    const count = Math.max(1, Math.min(100, Math.round(WARM_UP / few)));
    const step = (await seconds(() => train(count))) / count;
    await embedBatch(model, engine, pixels);
    const image = (await seconds(() => embedBatch(model, engine, pixels))) / spec.batchSize;
    const memory = { ...hostFootprint(spec, channels), gpu: await engine.memory() };
    return { device: engine.device, memory, passes: engine.passes, step, image };
  } finally {
    engine.close();
  }
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;

/** Seconds of a step, and of the encoder for one image: a few splits of real size, as many as keep the threads busy. */
async function timeStep(spec: PretrainSpec, channels: number, threads: number, tapes: Tapes) {
  const directions = directionsOf(spec);
  const meets = threadsFor(spec, threads) !== threads;
  const splits = meets ? spec.splits : Math.min(spec.splits, Math.ceil(threads / directions));
  const part = { ...spec, splits, batchSize: (spec.batchSize / spec.splits) * splits } as PretrainSpec;
  const rounds = (of: PretrainSpec) => Math.ceil(unitsOf(of) / threads);
  const method = methodOf(spec);
  // What does not grow with the batch, or is not linear in it.
  const apart: readonly Phase[] = ["follow before", "update", "follow after", "couple", "remember"];
  const timed = await rehearse(part, channels, threads, tapes, async ({ model, engine, pixels }) => {
    const rings = Object.keys(ringsOf(part));
    const laps: { units: number; rest: number; embed: number }[] = [];
    for (let spent = 0; laps.length < 3 || (spent < WARM_UP && laps.length < 200); ) {
      const step = noiseStep(pixels, laps.length, rings, model.networks.followers);
      let [units, rest] = [0, 0];
      for (const phase of phasesOf(method)) {
        const time = await seconds(() => engine.run(phase, step));
        if (!apart.includes(phase)) units += time;
        else if (phase !== "couple") rest += time;
      }
      const embed = await seconds(() => embedBatch(model, engine, pixels));
      laps.push({ units, rest, embed });
      spent += units + rest + embed;
    }
    const settled = laps.slice(Math.floor(laps.length / 2));
    return {
      units: median(settled.map(({ units }) => units)),
      rest: median(settled.map(({ rest }) => rest)),
      image: median(settled.map(({ embed }) => embed)) / part.batchSize,
    };
  });
  const couple = method.couples === "batch" ? await timeCouple(spec, channels) : 0;
  const scale = meets ? 1 : rounds(spec) / rounds(part);
  return { step: scale * timed.units + timed.rest + couple, image: timed.image };
}

/** Seconds of a loss over the whole batch, at its own size. */
async function timeCouple(spec: PretrainSpec, channels: number): Promise<number> {
  return rehearseCouple(spec, channels, async (pool) => {
    const laps: number[] = [];
    for (let i = 0; i < 3; i++) laps.push(await seconds(() => pool.run({ kind: "couple" })));
    return median(laps);
  });
}
