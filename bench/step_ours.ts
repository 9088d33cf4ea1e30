/** Seconds of a step by the real training path: augmentation, momentum update, both encoders, SGD, queue. */
import { sharedBytes } from "../src/data/types.ts";
import { openDevice } from "../src/kernels/index.ts";
import { parseSpec } from "../src/spec/job.ts";
import { openBatches } from "../src/train/batches.ts";
import { trainStep } from "../src/train/moco_step.ts";
import { Pool } from "../src/train/pool.ts";
import { createModel, startPosition } from "../src/train/state.ts";

const threads = Number(process.argv[2]);
const batchSize = 32;
const spec = parseSpec("pretrain", { preset: "cifar", dataset: { kind: "cifar10" }, batchSize, splits: 2, epochs: 1 });
await openDevice();
const model = createModel(spec, 3, threads);
const { state, buffers, slots } = model;
const pixels = sharedBytes(batchSize * 32 * 32 * 3);
for (let i = 0; i < pixels.length; i++) pixels[i] = Math.imul(i, 2654435761) >>> 24;
const images = { pixels, labels: undefined, count: batchSize, height: 32, width: 32, channels: 3 };
const [mean, std] = [Array(3).fill(0.5), Array(3).fill(0.25)];
const pool = await Pool.open({ spec, state, buffers, slots, channels: 3, mean, std, threads });
const batches = openBatches(
  images,
  Int32Array.from({ length: batchSize }, (_, i) => i),
  { ...spec, epochs: 100 },
);
const position = startPosition();
for (let step = 0; step < 4; step++) {
  const start = performance.now();
  await trainStep({ model, pool, batches }, spec, position);
  console.log((performance.now() - start) / 1000);
}
pool.close();
