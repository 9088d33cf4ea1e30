/** Runs on WebGPU (SwiftShader here) beside runs on WASM: the same training, and checkpoints that either takes up. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { create } from "webgpu";
import { DeviceMemoryError } from "../../src/backend/errors.ts";
import { GpuBackend } from "../../src/backend/gpu_backend.ts";
import { type StepMetrics, startPosition } from "../../src/engine/metrics.ts";
import { blockNames, floatsOf, intsOf, ringsOf, trainedParams } from "../../src/engine/state.ts";
import { passesAfter } from "../../src/engine/webgpu/engine.ts";
import { methodOf } from "../../src/methods/index.ts";
import { parseSpec } from "../../src/schema/job.ts";
import type { MocoSpec } from "../../src/schema/methods/moco.ts";
import type { SupervisedSpec } from "../../src/schema/methods/supervised.ts";
import type { TrainSpec } from "../../src/schema/pretrain.ts";
import { openBatches } from "../../src/train/batches.ts";
import { embed, openSession } from "../../src/train/session.ts";
import { trainStep } from "../../src/train/step.ts";
import { type TestDevice, useTestDevice } from "../support/devices.ts";
import { finalFiles, LONG, relativeError, runTo, temporaryFolder, writeFashionLike } from "../support/helpers.ts";

const data = temporaryFolder();
beforeAll(async () => {
  writeFashionLike(data.path, 52, 20);
  await useTestDevice("webgpu");
  await useTestDevice("wasm");
});
afterAll(() => data[Symbol.dispose]());

const specFor = (more: object = {}) =>
  parseSpec("pretrain", {
    dataset: { kind: "fashion-mnist", path: data.path },
    encoder: { arch: "resnet10", stem: "cifar", width: 4 },
    dim: 16,
    queueSize: 40,
    batchSize: 16,
    splits: 4,
    epochs: 2,
    logEvery: 1,
    augmentation: { size: 16 },
    optimizer: { lr: 0.01 },
    monitor: { bank: 20, holdout: 20, k: 5 },
    ...more,
  }) as MocoSpec;

const quiet = { cache: "/nonexistent", log: () => undefined, progress: () => undefined };
const computing = (device: TestDevice) => ({ threads: 2, device });

async function wholeRun(spec: ReturnType<typeof specFor>, steps: readonly [TestDevice, number | undefined][]) {
  using folder = temporaryFolder();
  for (const [device, stop] of steps) {
    const outcome = await runTo(spec, folder.path, computing(device), stop);
    if ("result" in outcome) return { result: outcome.result, files: finalFiles(folder.path, outcome.result) };
  }
  throw new Error("the run did not end");
}

test("two runs have the same bits, one of them stopped in mid-epoch and gone on with, its log read now and then", async () => {
  const whole = await wholeRun(specFor(), [["webgpu", undefined]]);
  expect(whole.result).toMatchObject({ device: expect.stringMatching(/^webgpu: /), steps: 4 });
  const stopped = await wholeRun(specFor(), [
    ["webgpu", 1],
    ["webgpu", 3],
    ["webgpu", undefined],
  ]);
  expect(stopped.files).toEqual(whole.files);
  // Every loss counts once, however seldom the device is asked.
  const seldom = await wholeRun(specFor({ logEvery: 7 }), [["webgpu", undefined]]);
  expect(seldom.files[1]).toEqual(whole.files[1] as string);
});

test("a checkpoint of one device goes on on the other, and the run ends where it would have", async () => {
  const spec = specFor();
  const { result } = await wholeRun(spec, [["wasm", undefined]]);
  for (const order of [
    ["wasm", "webgpu"],
    ["webgpu", "wasm"],
  ] as const) {
    const crossed = await wholeRun(spec, [
      [order[0], 1],
      [order[1], undefined],
    ]);
    expect(Math.abs(crossed.result.loss / result.loss - 1)).toBeLessThan(1e-3);
  }
});

/** Losses of some steps, and what is left then. */
async function trained(spec: TrainSpec, device: TestDevice, steps: number, passes?: number) {
  const session = await openSession(spec, { ...computing(device), context: quiet });
  const { model, engine, dataset, parts } = session;
  if (passes) engine.passes = passes;
  const batches = openBatches(dataset.train, parts.train, spec);
  const position = startPosition(spec, Object.keys(ringsOf(spec)));
  const metrics: StepMetrics[] = [];
  const trainer = { model, engine, batches, labels: dataset.train.labels };
  for (let step = 0; step < steps; step++) metrics.push(...(await trainStep(trainer, position)));
  metrics.push(...(await engine.settle()));
  const embedding = { what: "backbone" } as const;
  const features = await embed(session, dataset.train, parts.holdout, embedding);
  engine.close();
  return { metrics: metrics as Measured[], features, model, state: model.state, gradient: model.buffers.gradient };
}

/** Of MoCo; supervised steps have no cosines. */
type Measured = Readonly<Record<"loss" | "top1" | "positive" | "negative", number>>;

const { params, stats } = blockNames;
/** Both encoders of MoCo. */
const encoders = [params("query"), params("key"), stats("query"), stats("key")];

test.each([
  ["one direction", {}, 4],
  ...(LONG ? [["symmetric", { symmetric: true, maskSameImage: true }, 4] as const] : []),
] as const)(
  "a batch in passes, as where there is no room for it at once, trains the same: %s",
  async (_, more, passes) => {
    const [ours, theirs] = [await trained(specFor(more), "webgpu", 2, passes), await trained(specFor(more), "wasm", 2)];
    ours.metrics.forEach(({ loss, positive, negative }, i) => {
      const expected = theirs.metrics[i] as Measured;
      expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(1e-4);
      expect(Math.abs(positive - expected.positive)).toBeLessThan(1e-4);
      expect(Math.abs(negative - expected.negative)).toBeLessThan(1e-4);
    });
    for (const part of [...encoders, blockNames.ring("queue")]) {
      expect(relativeError(floatsOf(ours.state, part), floatsOf(theirs.state, part))).toBeLessThan(1e-3);
    }
  },
  120_000,
);

test("supervised steps, as fine-tuning does them, equal WASM's: loss, accuracy, parameters, rates by layer", async () => {
  const { head, queueSize, momentum, temperature, shuffle, symmetric, maskSameImage, ...common } = specFor({
    splits: 1,
  });
  const optimizer = { ...common.optimizer, lr: 0.05, schedule: "constant" } as const;
  const spec: SupervisedSpec = { ...common, method: "supervised", dim: 10, layerDecay: 0.5, optimizer };
  const [ours, theirs] = [await trained(spec, "webgpu", 2), await trained(spec, "wasm", 2)];
  expect(ours.metrics).toHaveLength(2);
  ours.metrics.forEach(({ loss, top1 }, i) => {
    expect(Math.abs(loss / (theirs.metrics[i]?.loss as number) - 1)).toBeLessThan(1e-4);
    expect(top1).toBeCloseTo(theirs.metrics[i]?.top1 as number, 5);
  });
  expect(relativeError(trainedParams(ours.model), trainedParams(theirs.model))).toBeLessThan(1e-3);
  // Half as fast for each stage below the classifier.
  const rates = theirs.model.trained.params.entries.map((entry) => [
    entry.name.split(".")[0],
    methodOf(spec).rate?.(spec, entry, 0.05),
  ]);
  expect(Object.fromEntries(rates)).toEqual({
    conv1: 1 / 32,
    bn1: 1 / 32,
    layer1: 1 / 16,
    layer2: 1 / 8,
    layer3: 1 / 4,
    layer4: 1 / 2,
    fc: 1,
  });
  // And steps are as long as their rates say: with none below the classifier, only it has moved.
  const frozen = await trained({ ...spec, layerDecay: 0 }, "webgpu", 1);
  const { trained: network } = frozen.model;
  const fresh = new Float32Array(network.params.size);
  network.params.initialise(fresh, spec.seed);
  const moved = network.params.entries.filter(({ offset, size }) =>
    trainedParams(frozen.model)
      .subarray(offset, offset + size)
      .some((v, i) => v !== fresh[offset + i]),
  );
  expect(moved.map(({ name }) => name)).toEqual(["fc.weight", "fc.bias"]);
});

test("what has no room on the device is refused by name, and the device goes on", async () => {
  const gpu = create(["backend=null"]); // it has 512 MB
  const adapter = (await gpu.requestAdapter()) as GPUAdapter;
  const backend = new GpuBackend(await adapter.requestDevice(), adapter.info);
  const take = (megabytes: number) => () => {
    for (let i = 0; i < megabytes / 8; i++) backend.binding(backend.allocate([2 ** 21]));
  };
  await expect(backend.record(take(1200))).rejects.toThrow(DeviceMemoryError);
  backend.check();
  (await backend.record(take(100))).destroy();
});

test("passes grow to one split each, directions apart", () => {
  const grown = (directions: number, splits: number) => {
    const all: number[] = [];
    for (let n = passesAfter(1, directions, splits); n !== undefined; n = passesAfter(n, directions, splits))
      all.push(n);
    return all;
  };
  expect(grown(1, 8)).toEqual([2, 4, 8]);
  expect(grown(2, 4)).toEqual([2, 4, 8]);
  expect(grown(1, 6)).toEqual([2, 3, 6]);
  expect(grown(1, 1)).toEqual([]);
});

test.each([
  ...(LONG
    ? [
        [
          "symmetric, own images masked, AdamW",
          { symmetric: true, optimizer: { algorithm: "adamw", lr: 1e-4 } },
        ] as const,
      ]
    : []),
  ["LARS, v1's head, ImageNet's stem", { head: "linear", optimizer: { algorithm: "lars", lr: 0.1 } }],
] as const)(
  "three steps equal WASM's: %s",
  async (name, more) => {
    const stem = name.includes("stem") ? "imagenet" : "cifar";
    const encoder = { arch: "resnet10", stem, width: 4 };
    const augmentation = { size: 32, solarise: 0.3, blur: 0.5 };
    const spec = specFor({ maskSameImage: true, batchSize: 16, queueSize: 40, encoder, augmentation, ...more });
    const [ours, theirs] = [await trained(spec, "webgpu", 3), await trained(spec, "wasm", 3)];
    expect(ours.metrics).toHaveLength(3);
    ours.metrics.forEach(({ loss, positive, negative, top1 }, i) => {
      const expected = theirs.metrics[i] as Measured;
      expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(1e-3);
      expect(Math.abs(positive - expected.positive)).toBeLessThan(1e-3);
      expect(Math.abs(negative - expected.negative)).toBeLessThan(1e-3);
      expect(Math.abs(top1 - expected.top1)).toBeLessThan(0.2);
    });
    const ids = blockNames.ringIds("queue");
    expect([...intsOf(ours.state, ids)]).toEqual([...intsOf(theirs.state, ids)]);
    for (const part of encoders) {
      expect(relativeError(floatsOf(ours.state, part), floatsOf(theirs.state, part))).toBeLessThan(2e-3);
    }
    expect(relativeError(ours.features, theirs.features)).toBeLessThan(5e-3);
  },
  120_000,
);

test("mixed precision: a step's loss to 1%, its gradient as near as float16 lets it", async () => {
  const [ours, theirs] = [
    await trained(specFor({ precision: "mixed" }), "webgpu", 1),
    await trained(specFor(), "webgpu", 1),
  ];
  const [loss, expected] = [ours, theirs].map(({ metrics }) => metrics[0]?.loss) as [number, number];
  expect(loss).not.toBe(expected);
  expect(Math.abs(loss / expected - 1)).toBeLessThan(0.01);
  const length = (v: Float32Array) => Math.hypot(...v);
  const difference = ours.gradient.map((g, i) => g - (theirs.gradient[i] as number));
  // PyTorch, its activations and their gradients rounded to float16, is 0.09 to 0.22 away from itself on such nets.
  expect(length(difference) / length(theirs.gradient)).toBeLessThan(0.12);
});
