/** What a run will take, before it runs: memory (footprint.ts) and time, by steps of its own size on this machine. */
import { partition } from "../data/index.ts";
import { datasetSize } from "../data/size.ts";
import type { DataContext } from "../data/types.ts";
import { openDevice } from "../kernels/index.ts";
import { lint } from "../spec/lint.ts";
import type { PretrainSpec } from "../spec/pretrain.ts";
import { UserError } from "../util/errors.ts";
import { expectFit, type Footprint, footprint } from "./footprint.ts";
import { rehearse } from "./rehearsal.ts";
import { unitsOf } from "./state.ts";
import type { Task } from "./tasks.ts";

export interface Plan {
  threads: number;
  /** Training images, without those held out. */
  images: number;
  /** Bytes; `images` those of the dataset or of the ring that streams it. */
  memory: Footprint & { images: number };
  /** Seconds. */
  time: {
    step: number;
    stepsPerEpoch: number;
    /** One vote of the monitor. */
    watch: number;
    epoch: number;
    total: number;
  };
  warnings: string[];
}

/** Seconds of repetition: compilers of JavaScript and WASM need some before a step is as fast as it will be. */
const WARM_UP = 4;

/** Throws UserError where the run does not fit, or the dataset does not fill a batch. */
export async function plan(spec: PretrainSpec, threads: number, context: DataContext): Promise<Plan> {
  const size = await datasetSize(spec.dataset, context);
  const parts = partition({ count: size.images } as never, spec.monitor.holdout, spec.dataset.images, spec.seed);
  const images = parts.train.length;
  if (images < spec.batchSize) {
    throw new UserError(`spec.batchSize: the dataset leaves ${images} images to train on, got ${spec.batchSize}`);
  }
  await openDevice();
  const memory = await footprint(spec, size.channels, threads);
  expectFit(spec, threads, memory);
  const held = size.streamed ? 3 * spec.batchSize * size.bytes : size.bytes;
  const { step, image } = await timeStep(spec, size.channels, threads);
  const stepsPerEpoch = Math.floor(images / spec.batchSize);
  const { everyEpochs, bank } = spec.monitor;
  const watch = everyEpochs > 0 ? (Math.min(bank, images) + parts.holdout.length) * image : 0;
  const votes = everyEpochs > 0 ? Math.ceil(spec.epochs / everyEpochs) + 1 : 0;
  return {
    ...{ threads, images, memory: { ...memory, images: held, total: memory.total + held } },
    time: {
      ...{ step, stepsPerEpoch, watch, epoch: step * stepsPerEpoch },
      total: step * stepsPerEpoch * spec.epochs + watch * votes,
    },
    warnings: lint(spec, images).map(({ message }) => message),
  };
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
