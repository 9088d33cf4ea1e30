/**
 * Seconds of a step by the real training path: augmentation, momentum update, both encoders, SGD, queue. One a line;
 * with --profile where the time goes on the first thread, kernel by kernel.
 *
 *     bun bench/step_ours.ts [--width 64] [--batch 256] [--splits 8] [--threads 1] [--steps 5] [--profile]
 */
import { parseArgs } from "node:util";
import { sharedBytes } from "../src/data/types.ts";
import { openDevice } from "../src/kernels/index.ts";
import { parseSpec } from "../src/spec/job.ts";
import { openBatches } from "../src/train/batches.ts";
import { trainStep } from "../src/train/moco_step.ts";
import { Pool } from "../src/train/pool.ts";
import { createModel, startPosition } from "../src/train/state.ts";

const { values } = parseArgs({
  options: {
    width: { type: "string", default: "64" },
    batch: { type: "string", default: "256" },
    splits: { type: "string", default: "8" },
    threads: { type: "string", default: "1" },
    steps: { type: "string", default: "5" },
    profile: { type: "boolean", default: false },
  },
});
const [width, batchSize, splits, threads, steps] = [
  values.width,
  values.batch,
  values.splits,
  values.threads,
  values.steps,
].map(Number) as [number, number, number, number, number];
const spec = parseSpec("pretrain", {
  ...{ preset: "cifar", dataset: { kind: "cifar10" }, batchSize, splits, epochs: 1 },
  encoder: { width },
});
await openDevice();
const model = createModel(spec, 3, threads);
const { state, buffers, slots } = model;
const pixels = sharedBytes(batchSize * 32 * 32 * 3);
for (let i = 0; i < pixels.length; i++) pixels[i] = Math.imul(i, 2654435761) >>> 24;
const images = { pixels, labels: undefined, count: batchSize, height: 32, width: 32, channels: 3 };
const [mean, std] = [Array(3).fill(0.5), Array(3).fill(0.25)];
const pool = await Pool.open({ spec, state, buffers, slots, channels: 3, mean, std, threads });
const order = Int32Array.from({ length: batchSize }, (_, i) => i);
const batches = openBatches(images, order, { ...spec, epochs: 1000 });
const position = startPosition();
const step = () => trainStep({ model, pool, batches }, spec, position);
await step();
if (values.profile) await pool.run({ kind: "profile" });
const before = performance.now();
for (let i = 0; i < steps; i++) {
  const start = performance.now();
  await step();
  if (!values.profile) console.log((performance.now() - start) / 1000);
}
if (values.profile) {
  const total = (performance.now() - before) / steps;
  const [spent] = (await pool.run({ kind: "profile" })) as [Record<string, number>];
  const kernels = Object.entries(spent).filter(([name]) => !name.startsWith("task "));
  const tasks = Object.entries(spent).filter(([name]) => name.startsWith("task "));
  const show = (rows: [string, number][]) => {
    for (const [name, ms] of rows.sort((a, b) => b[1] - a[1])) {
      const share = ms / steps / total;
      if (share > 0.001)
        console.log(`${(100 * share).toFixed(1).padStart(5)}%  ${(ms / steps).toFixed(1).padStart(8)} ms  ${name}`);
    }
  };
  console.log(`a step: ${total.toFixed(0)} ms, ${threads} threads\n\ntasks of the first thread`);
  show(tasks);
  const sum = (rows: [string, number][]) => rows.reduce((all, [, ms]) => all + ms / steps, 0);
  console.log(`${((100 * sum(tasks)) / total).toFixed(1).padStart(5)}%  together\n\nkernels`);
  show(kernels);
  console.log(`${((100 * sum(kernels)) / total).toFixed(1).padStart(5)}%  together`);
}
pool.close();
process.exit(0);
