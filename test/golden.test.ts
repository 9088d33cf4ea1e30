/** MoCo through the real path (threads, splits, shuffle, SGD) equals PyTorch in float64: one step, and 50. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Layout, toTorch } from "../src/nn/layout.ts";
import { parseSpec } from "../src/spec/job.ts";
import type { PretrainSpec } from "../src/spec/pretrain.ts";
import { decodeSafetensors } from "../src/store/safetensors.ts";
import { Pool } from "../src/train/pool.ts";
import { trainStep } from "../src/train/pretrain.ts";
import { createModel, startPosition } from "../src/train/state.ts";
import { fill, hashedPixels, unitWaves } from "./golden/formulas.ts";
import { relativeError } from "./helpers.ts";

const [WIDTH, SIDE, N, SPLITS, DIM, K] = [4, 16, 16, 2, 16, 40];
const read = (name: string) => {
  const file = join(import.meta.dir, "golden", name);
  return decodeSafetensors(new Uint8Array(readFileSync(file)), file).tensors;
};

const settings = {
  preset: "cifar",
  dataset: { kind: "cifar10" },
  encoder: { arch: "resnet18", stem: "cifar", width: WIDTH },
  dim: DIM,
  queueSize: K,
  batchSize: N,
  splits: SPLITS,
  seed: 7,
  // Nothing random: the whole image, no jitter.
  augmentation: { size: SIDE, cropScale: [1, 1], flip: 0, jitter: { probability: 0 }, grey: 0, blur: 0 },
};

/** A model and images by formula, and threads over them. */
async function openGolden(spec: PretrainSpec, count: number) {
  const side = spec.augmentation.size;
  const model = createModel(spec, 3, 2);
  const { encoder, state, buffers, slots } = model;
  fill(encoder.params.entries, state.queryParams, 0);
  fill(encoder.params.entries, state.keyParams, 0.1);
  state.queue.set(unitWaves(K, DIM));
  const images = {
    pixels: hashedPixels(count, SIDE),
    labels: undefined,
    count,
    height: SIDE,
    width: SIDE,
    channels: 3,
  };
  const [mean, std] = [Array(3).fill(0.45), Array(3).fill(0.25)];
  const pool = await Pool.open({ spec, state, buffers, slots, images, mean, std, threads: 2 });
  const indices = Int32Array.from({ length: count }, (_, i) => i);
  const dataset = { name: "golden", train: images, test: undefined, classes: [], mean, std, skipped: 0 };
  const session = { dataset, model, pool, parts: { train: indices, holdout: new Int32Array() } };
  const position = { ...startPosition };
  const step = () => trainStep(session, spec, position, count / N, indices);
  return { model, position, step, [Symbol.dispose]: () => pool.close() };
}

test("loss, gradients, parameters, statistics and queue after one step equal PyTorch's to 1e-4", async () => {
  const golden = read("moco_step.safetensors");
  const spec = parseSpec("pretrain", {
    ...settings,
    head: "mlp",
    momentum: 0.9,
    temperature: 0.2,
    epochs: 1,
    optimizer: { lr: 0.05, momentum: 0.9, weightDecay: 1e-3 },
  });
  using run = await openGolden(spec, N);
  const { encoder, state, buffers } = run.model;
  const { loss } = await run.step();

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
  expect(run.position).toMatchObject({ step: 1, queuePointer: N });
});

test("the loss of 50 steps of MoCo v1 follows PyTorch's to 1e-3", async () => {
  const losses = read("moco_curve.safetensors").get("moco-v1")?.data as Float32Array;
  const spec = parseSpec("pretrain", {
    ...settings,
    method: "moco-v1",
    head: "linear",
    temperature: 0.07,
    momentum: 0.99,
    shuffle: false,
    epochs: 13,
    optimizer: { lr: 0.03, momentum: 0.9, weightDecay: 5e-4, schedule: "step", milestones: [4, 8] },
  });
  using run = await openGolden(spec, 64);
  const got: number[] = [];
  for (let step = 0; step < 50; step++) got.push((await run.step()).loss);
  // The first loss is nearly 0: there float32 logits of 1/T round to 1e-6.
  const off = got.filter((loss, i) => !(Math.abs(loss - (losses[i] as number)) < 1e-3 * (losses[i] as number) + 1e-6));
  expect(off).toEqual([]);
  expect(run.position.queuePointer).toBe((50 * N) % K);
});
