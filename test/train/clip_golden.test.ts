/** CLIP, SigLIP's loss and CLIP with queues through the real path equal PyTorch in float64: one step, two, and 50. */
import { afterAll, describe, expect, test } from "bun:test";
import { openSource } from "../../src/data/source.ts";
import { type StepMetrics, startPosition } from "../../src/engine/metrics.ts";
import { openEngine } from "../../src/engine/open.ts";
import { blockNames, floatsOf, type Model, ringsOf } from "../../src/engine/state.ts";
import { OWN } from "../../src/nn/layout.ts";
import { parseSpec } from "../../src/schema/job.ts";
import type { PretrainSpec } from "../../src/schema/pretrain.ts";
import { trainStep } from "../../src/train/step.ts";
import { fillMixed, formulaTexts, squares, unitWaves } from "../golden/formulas.ts";
import { devices, type TestDevice, useTestDevice } from "../support/devices.ts";
import { networkErrors } from "../support/golden_errors.ts";
import { golden, LONG, relativeError } from "../support/helpers.ts";

/** As in clip.py. */
const [SIDE, N, CONTEXT, DIM, K] = [16, 16, 12, 16, 40];
const vit = { arch: "vit-tiny", patch: 4, width: 24, depth: 2, heads: 3, position: "learned", freezePatches: false };
const text = { tokens: { kind: "bytes" }, context: CONTEXT, width: 24, depth: 2, heads: 3, causal: true };

/** Of each golden: steps, and what is not CLIP with a ResNet. */
const cases: Record<string, readonly [steps: number, more: object]> = {
  clip: [1, {}],
  "clip-vit": [2, { encoder: vit, norm: "split" }],
  "clip-both": [1, { text: { ...text, causal: false } }],
  sigmoid: [2, { loss: "sigmoid" }],
  "clip-queue": [2, { method: "clip-queue" }],
  "clip-queue-vit": [2, { method: "clip-queue", encoder: vit }],
};

const sgd = {
  algorithm: "sgd",
  per: "epoch",
  lr: 5e-4,
  momentum: 0.9,
  weightDecay: 1e-3,
  decayBiases: true,
  schedule: "constant",
  warmup: 0,
};

function specOf(more: object): PretrainSpec {
  const { method = "clip" } = more as { method?: string };
  return parseSpec("pretrain", {
    method,
    preset: "cifar",
    dataset: { kind: "folder", path: "/nonexistent", texts: "beside" },
    encoder: { arch: "resnet10", stem: "cifar", width: 4 },
    text,
    dim: DIM,
    ...(method === "clip-queue" && { queueSize: K, momentum: 0.9 }),
    batchSize: N,
    splits: 2,
    norm: "batch",
    epochs: 50,
    logEvery: 1,
    // Nothing random: the whole image.
    augmentation: { size: SIDE, cropScale: [1, 1], flip: 0, jitter: { probability: 0 }, grey: 0, blur: 0 },
    optimizer: sgd,
    ...more,
  });
}

/** Networks, queues, images and texts by formula. */
async function open(device: TestDevice, spec: PretrainSpec, count: number) {
  await useTestDevice(device);
  const [mean, std] = [Array(3).fill(0.45), Array(3).fill(0.25)];
  const context = { cache: "/nonexistent", log: () => undefined };
  const computing = { threads: 2, device };
  const { model, engine } = await openEngine({ ...spec, device }, { channels: 3, mean, std }, computing, context);
  model.networks.names.forEach((name, i) => {
    const filled = model.networks.get(name).params.entries.filter(({ part }) => part !== OWN);
    fillMixed(filled, floatsOf(model.state, blockNames.params(name)), 0.1 * i);
  });
  for (const ring of Object.keys(ringsOf(spec))) floatsOf(model.state, blockNames.ring(ring)).set(unitWaves(K, DIM));
  engine.load();
  const images = { pixels: squares(count, SIDE), labels: undefined, count, height: SIDE, width: SIDE, channels: 3 };
  const stepsPerEpoch = count / N;
  const indices = (step: number) => Int32Array.from({ length: N }, (_, i) => (step % stepsPerEpoch) * N + i);
  const batches = { stepsPerEpoch, indices, source: openSource(images, indices, N) };
  const trainer = { model, engine, batches, texts: formulaTexts(count, CONTEXT) };
  const position = startPosition(spec, Object.keys(ringsOf(spec)));
  const step = async () => {
    const [metrics] = await trainStep(trainer, position);
    return (metrics as StepMetrics).loss as number;
  };
  return { model, step, settle: () => engine.settle(), [Symbol.dispose]: () => engine.close() };
}

/** Relative error of the loss, every gradient, every parameter and statistic after it. */
function errorsOf(model: Model, loss: number, theirs: (name: string) => Float32Array) {
  const errors: [string, number][] = [["loss", relativeError([loss], theirs("loss"))]];
  errors.push(...networkErrors(model, theirs));
  return errors.sort((a, b) => b[1] - a[1]);
}

describe.each(devices)("%s", (device) => {
  afterAll(() => useTestDevice("wasm"));

  // A software adapter takes seconds for each.
  const names = device === "wasm" || LONG ? Object.keys(cases) : ["sigmoid", "clip-queue-vit"];
  test.each(names.map((name) => [name, ...(cases[name] as (typeof cases)[string])] as const))(
    "%s: loss, gradients, parameters and statistics equal PyTorch's to 1e-4",
    async (name, steps, more) => {
      const theirs = golden("clip.safetensors");
      using run = await open(device, specOf(more), N);
      let loss = Number.NaN;
      for (let step = 0; step < steps; step++) loss = await run.step();
      await run.settle();
      const errors = errorsOf(run.model, loss, (of) => theirs(`${name}.${of}`));
      expect(errors.length).toBeGreaterThan(100);
      expect(errors.filter(([, error]) => !(error < 1e-4))).toEqual([]);
    },
  );

  const count = device === "wasm" || LONG ? 50 : 6;
  test.each(device === "wasm" || LONG ? ["clip", "clip-queue"] : ["clip"])(
    `the loss of ${count} steps of %s with AdamW follows PyTorch's to 1e-3`,
    async (method) => {
      const losses = golden("clip.safetensors")(`curve.${method}`);
      // OpenCLIP's: gains, biases and the scale of the logits are not decayed.
      const optimizer = { ...sgd, algorithm: "adamw", lr: 2e-4, beta2: 0.98, weightDecay: 0.1, decayBiases: false };
      using run = await open(device, specOf({ method, encoder: vit, optimizer }), 64);
      const got: number[] = [];
      for (let step = 0; step < count; step++) got.push(await run.step());
      expect(relativeError(got, losses.slice(0, count))).toBeLessThan(1e-3);
    },
  );
});
