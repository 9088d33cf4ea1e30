/**
 * Seconds to draw and make both views of a batch, MoCo v2's augmentation, one thread. One a line.
 *
 *     bun bench/views_ours.ts [--batch 256] [--size 32] [--steps 5]
 */
import { parseArgs } from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import { ROW, viewRow } from "../src/data/view.ts";
import { augment } from "../src/kernels/augment/index.ts";
import { openDevice } from "../src/kernels/index.ts";
import { parseSpec } from "../src/schema/job.ts";

const { values } = parseArgs({
  options: {
    batch: { type: "string", default: "256" },
    size: { type: "string", default: "32" },
    steps: { type: "string", default: "5" },
  },
});
const [batch, size, steps] = [values.batch, values.size, values.steps].map(Number) as [number, number, number];
const spec = parseSpec("pretrain", {
  preset: "imagenet",
  dataset: { kind: "cifar10" },
  batchSize: batch,
  splits: 1,
  queueSize: batch,
  augmentation: { size },
  encoder: { stem: "cifar" },
});
await openDevice();
const bytes = size * size * 3;
const pixels = Uint8Array.from({ length: batch * bytes }, (_, i) => Math.imul(i, 2654435761) >>> 24);
const places = Float64Array.from(
  { length: batch * 3 },
  (_, i) => [Math.floor(i / 3) * bytes, size, size][i % 3] as number,
);
for (let step = 0; step < steps + 3; step++) {
  const start = performance.now();
  for (const view of [0, 1]) {
    const rows = new Float32Array(batch * ROW);
    for (let i = 0; i < batch; i++) {
      viewRow(rows, i * ROW, { seed: 0, epoch: step, sample: i, view }, spec.augmentation, size, size, 3);
    }
    tf.dispose(augment({ pixels, places, channels: 3 }, rows, size, [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]));
  }
  if (step >= 3) console.log((performance.now() - start) / 1000);
}
