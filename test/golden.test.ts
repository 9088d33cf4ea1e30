/** One whole MoCo step through the real path (threads, splits, shuffle, SGD), equal to PyTorch's in float64. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Layout, toTorch } from "../src/nn/layout.ts";
import { parseSpec } from "../src/spec/job.ts";
import { decodeSafetensors } from "../src/store/safetensors.ts";
import { Pool } from "../src/train/pool.ts";
import { trainStep } from "../src/train/pretrain.ts";
import { createModel, startPosition } from "../src/train/state.ts";
import { fill, hashedPixels } from "./golden/formulas.ts";
import { relativeError } from "./helpers.ts";

const [WIDTH, SIDE, N, SPLITS, DIM, K] = [4, 16, 16, 2, 16, 40];
const file = join(import.meta.dir, "golden/moco_step.safetensors");
const golden = decodeSafetensors(new Uint8Array(readFileSync(file)), file).tensors;

const spec = parseSpec("pretrain", {
  preset: "cifar",
  dataset: { kind: "cifar10" },
  encoder: { arch: "resnet18", stem: "cifar", width: WIDTH },
  head: "mlp",
  dim: DIM,
  queueSize: K,
  momentum: 0.9,
  temperature: 0.2,
  batchSize: N,
  splits: SPLITS,
  seed: 7,
  epochs: 1,
  optimizer: { lr: 0.05, momentum: 0.9, weightDecay: 1e-3 },
  // Nothing random: the whole image, no jitter.
  augmentation: { size: SIDE, cropScale: [1, 1], flip: 0, jitter: { probability: 0 }, grey: 0, blur: 0 },
});

test("loss, gradients, parameters, statistics and queue after one step equal PyTorch's to 1e-4", async () => {
  const model = createModel(spec, 3, 2);
  const { encoder, state, buffers, slots } = model;
  fill(encoder.params.entries, state.queryParams, 0);
  fill(encoder.params.entries, state.keyParams, 0.1);
  for (let row = 0; row < K; row++) {
    const vector = Float32Array.from({ length: DIM }, (_, i) => Math.sin(0.9 * (row * DIM + i) + 0.5));
    const norm = Math.sqrt(vector.reduce((sum, v) => sum + v * v, 0));
    state.queue.set(
      vector.map((v) => v / norm),
      row * DIM,
    );
  }
  const images = { pixels: hashedPixels(N, SIDE), labels: undefined, count: N, height: SIDE, width: SIDE, channels: 3 };
  const [mean, std] = [Array(3).fill(0.45), Array(3).fill(0.25)];
  const pool = await Pool.open({ spec, state, buffers, slots, images, mean, std, threads: 2 });
  const indices = Int32Array.from({ length: N }, (_, i) => i);
  const dataset = { name: "golden", train: images, test: undefined, classes: [], mean, std, skipped: 0 };
  const session = { dataset, model, pool, parts: { train: indices, holdout: new Int32Array() } };
  const position = { ...startPosition };
  const { loss } = await trainStep(session, spec, position, 1, indices);
  pool.close();

  const expected = (name: string) => golden.get(name)?.data as Float32Array;
  const errors: [string, number][] = [["loss", relativeError([loss], expected("loss"))]];
  const compare = (prefix: string, layout: Layout, values: Float32Array) => {
    for (const { name, shape, offset, size } of layout.entries) {
      const got = toTorch(shape, values.subarray(offset, offset + size));
      errors.push([prefix + name, relativeError(got, expected(prefix + name))]);
    }
  };
  compare("grad.", encoder.params, buffers.gradient);
  compare("module.encoder_q.", encoder.params, state.queryParams);
  compare("module.encoder_q.", encoder.stats, state.queryStats);
  compare("module.encoder_k.", encoder.params, state.keyParams);
  compare("module.encoder_k.", encoder.stats, state.keyStats);
  errors.push(["keys", relativeError(buffers.keys, expected("keys"))]);
  errors.push(["queue", relativeError(toTorch([K, DIM], state.queue), expected("module.queue"))]);
  errors.sort((a, b) => b[1] - a[1]);
  expect(errors.length).toBeGreaterThan(200);
  expect(errors.filter(([, error]) => !(error < 1e-4))).toEqual([]);
  expect(position).toMatchObject({ step: 1, queuePointer: N });
});
