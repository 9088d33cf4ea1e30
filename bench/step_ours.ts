/**
 * Seconds of a step by the real training path: augmentation, momentum update, both encoders, SGD, queue. One a line;
 * with --profile where the time goes on the first thread, kernel by kernel.
 *
 *     bun bench/step_ours.ts [--arch resnet18] [--width 64] [--size 32] [--batch 256] [--splits 8] [--threads 1]
 *                            [--steps 5] [--profile]
 *     bun bench/step_ours.ts --arch vit-tiny [--patch 4] ...      a step of MoCo v3
 */
import { parseArgs } from "node:util";
import { sharedBytes } from "../src/data/types.ts";
import { startPosition } from "../src/engine/metrics.ts";
import { threadsEngine } from "../src/engine/open.ts";
import { ringsOf } from "../src/engine/state.ts";
import { openDevice } from "../src/kernels/index.ts";
import { parseSpec } from "../src/schema/job.ts";
import { openBatches } from "../src/train/batches.ts";
import { trainStep } from "../src/train/step.ts";

const { values } = parseArgs({
  options: {
    arch: { type: "string", default: "resnet18" },
    width: { type: "string", default: "64" },
    /** Of a ViT. */
    patch: { type: "string", default: "4" },
    size: { type: "string", default: "32" },
    batch: { type: "string", default: "256" },
    splits: { type: "string", default: "8" },
    threads: { type: "string", default: "1" },
    steps: { type: "string", default: "5" },
    profile: { type: "boolean", default: false },
  },
});
const { width, patch, size, batch, splits, threads, steps } = Object.fromEntries(
  Object.entries(values).map(([name, value]) => [name, Number(value)]),
) as Record<"width" | "patch" | "size" | "batch" | "splits" | "threads" | "steps", number>;
const isVit = values.arch.startsWith("vit");
const spec = parseSpec("pretrain", {
  preset: "cifar",
  ...(isVit && { method: "moco-v3", norm: "split", optimizer: { algorithm: "adamw", lr: 1e-3, warmup: 0 } }),
  dataset: { kind: "cifar10" },
  batchSize: batch,
  splits,
  epochs: 1,
  encoder: isVit
    ? { arch: values.arch, patch }
    : { arch: values.arch, width, stem: values.arch === "resnet18" ? "cifar" : "imagenet" },
  augmentation: { size },
});
await openDevice();
const pixels = sharedBytes(batch * size * size * 3);
for (let i = 0; i < pixels.length; i++) pixels[i] = Math.imul(i, 2654435761) >>> 24;
const images = { pixels, labels: undefined, count: batch, height: size, width: size, channels: 3 };
const [mean, std] = [Array(3).fill(0.5), Array(3).fill(0.25)] as [number[], number[]];
const { model, engine } = await threadsEngine(spec, { channels: 3, mean, std }, threads, "recomputed");
const { pool } = engine;
const order = Int32Array.from({ length: batch }, (_, i) => i);
const batches = openBatches(images, order, { ...spec, epochs: 1000 });
const position = startPosition(spec, Object.keys(ringsOf(spec)));
const step = () => trainStep({ model, engine, batches }, position);
// A run has thousands of steps: the first seconds, in which JavaScript and WASM are still being compiled, are not its pace.
const WARM_UP = 8000;
for (const start = performance.now(); ; ) {
  await step();
  if (performance.now() - start > WARM_UP) break;
}
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
  const all = Object.entries(spent).map(([name, ms]): [string, number] => [name, ms / steps]);
  const isTask = ([name]: [string, number]) => name.startsWith("task ");
  const sum = (rows: [string, number][]) => rows.reduce((whole, [, ms]) => whole + ms, 0);
  const show = (rows: [string, number][]) => {
    for (const [name, ms] of rows.sort((a, b) => b[1] - a[1])) {
      const share = (100 * ms) / total;
      if (share > 0.1) console.log(`${share.toFixed(1).padStart(5)}%  ${ms.toFixed(1).padStart(8)} ms  ${name}`);
    }
    console.log(`${((100 * sum(rows)) / total).toFixed(1).padStart(5)}%  together`);
  };
  console.log(`a step: ${total.toFixed(0)} ms, ${threads} threads\n\ntasks of the first thread`);
  show(all.filter(isTask));
  console.log("\nkernels");
  const kernels = all.filter((row) => !isTask(row));
  const between = sum(all.filter(isTask)) - sum(kernels);
  show([...kernels, ["between kernels: JavaScript of tfjs and of ours", between]]);
}
pool.close();
process.exit(0);
