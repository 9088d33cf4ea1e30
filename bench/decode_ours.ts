/**
 * Seconds to decode a batch of JPEG files and make one random crop of each, one a line: what a streamed job does ahead of its steps.
 *
 *     bun bench/decode_ours.ts FOLDER [--batch 64] [--size 224] [--steps 10] [--cache disk]
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import { loadDataset } from "../src/data/index.ts";
import { openSource, PLACE } from "../src/data/source.ts";
import { ROW, viewRow } from "../src/data/view.ts";
import { augment } from "../src/kernels/augment/index.ts";
import { openDevice } from "../src/kernels/index.ts";
import { datasetSpec, withReading } from "../src/schema/dataset.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    batch: { type: "string", default: "64" },
    size: { type: "string", default: "224" },
    steps: { type: "string", default: "10" },
    cache: { type: "string", default: "none" },
  },
});
const [batch, size, steps] = [values.batch, values.size, values.steps].map(Number) as [number, number, number];
const cache = mkdtempSync(join(tmpdir(), "mocod-decode-"));
const spec = datasetSpec.parse(
  withReading({
    kind: "folder",
    path: positionals[0],
    size: Math.round((size * 8) / 7),
    access: "streamed",
    cache: values.cache,
    holdout: 0,
  }),
);
await openDevice();
const { train } = await loadDataset(spec, { cache, log: () => undefined });
const none = { probability: 0, brightness: 0, contrast: 0, saturation: 0, hue: 0 };
const crop = { size, cropScale: [0.2, 1] as [number, number], flip: 0.5, jitter: none, grey: 0, greyFirst: false };
const views = { ...crop, blur: 0, solarise: 0 };
const batches = Math.floor(train.count / batch);
const indices = (step: number) => Int32Array.from({ length: batch }, (_, i) => (step % batches) * batch + i);
const source = openSource(train, indices, batch);
const places = new Float64Array(batch * PLACE);
// With a cache the first epoch fills it.
const first = values.cache === "disk" ? batches : 1;
for (let step = 0; step < first + steps; step++) {
  const start = performance.now();
  await source.at(step, places);
  const rows = new Float32Array(batch * ROW);
  for (let i = 0; i < batch; i++) {
    const [height, width] = places.subarray(i * PLACE + 1, (i + 1) * PLACE) as unknown as [number, number];
    viewRow(rows, i * ROW, { seed: 0, epoch: step, sample: i, view: 0 }, views, height, width, 3);
  }
  tf.dispose(augment({ pixels: source.pixels, places, channels: 3 }, rows, size, [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]));
  if (step >= first) console.log((performance.now() - start) / 1000);
}
rmSync(cache, { recursive: true });
process.exit(0);
