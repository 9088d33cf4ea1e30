/** SimCLR, BYOL, SimSiam, Barlow Twins and MoCo v3 through the real path equal PyTorch in float64: one step, two, and 50. */
import { afterAll, describe, expect, test } from "bun:test";
import { openSource } from "../../src/data/source.ts";
import { type StepMetrics, startPosition } from "../../src/engine/metrics.ts";
import { openEngine } from "../../src/engine/open.ts";
import { blockNames, floatsOf, type Model } from "../../src/engine/state.ts";
import { parseSpec } from "../../src/schema/job.ts";
import type { PretrainSpec } from "../../src/schema/pretrain.ts";
import { trainStep } from "../../src/train/step.ts";
import { fillMixed, squares } from "../golden/formulas.ts";
import { devices, type TestDevice, useTestDevice } from "../support/devices.ts";
import { networkErrors } from "../support/golden_errors.ts";
import { golden, LONG, relativeError } from "../support/helpers.ts";

const [SIDE, N] = [16, 16];

/** Heads as in methods_nets.py. */
const own = {
  simclr: { hidden: 24, dim: 16, temperature: 0.5 },
  byol: { hidden: 24, dim: 16, momentum: 0.9 },
  simsiam: { hidden: 24, dim: 24, layers: 3, bottleneck: 8, predictorRate: "scheduled" },
  "barlow-twins": { hidden: 24, dim: 32, layers: 3, lambda: 0.005 },
  "moco-v3": { hidden: 24, dim: 16, momentum: 0.9, momentumSchedule: "cosine", temperature: 0.2 },
  "moco-v3-vit": { hidden: 24, dim: 16, momentum: 0.9, momentumSchedule: "cosine", temperature: 0.2 },
} as const;
type Method = keyof typeof own;
const methods = Object.keys(own) as Method[];

const specOf = (method: Method, more: object): PretrainSpec =>
  parseSpec("pretrain", {
    method: method.replace("-vit", ""),
    preset: "cifar",
    dataset: { kind: "cifar10" },
    encoder: method.endsWith("-vit")
      ? { arch: "vit-tiny", patch: 4, width: 24, depth: 2, heads: 3 }
      : { arch: "resnet18", stem: "cifar", width: 4 },
    batchSize: N,
    splits: 2,
    logEvery: 1,
    // Nothing random: the whole image, the second view with every value of 128 and more inverted.
    augmentation: { size: SIDE, cropScale: [1, 1], flip: 0, jitter: { probability: 0 }, grey: 0, blur: 0 },
    secondView: { blur: 0, solarise: 1 },
    ...own[method],
    ...more,
  });

/** Networks and images by formula. Two steps in all unless there are more images than a batch. */
async function open(device: TestDevice, spec: PretrainSpec, count: number) {
  await useTestDevice(device);
  const [mean, std] = [Array(3).fill(0.45), Array(3).fill(0.25)];
  const context = { cache: "/nonexistent", log: () => undefined };
  const { model, engine } = await openEngine(
    { ...spec, device },
    { channels: 3, mean, std },
    { threads: 2, device },
    context,
    async () => "kept",
  );
  model.networks.names.forEach((name, i) => {
    const filled = model.networks.get(name).params.entries.filter(({ init }) => init.kind !== "table");
    fillMixed(filled, floatsOf(model.state, blockNames.params(name)), 0.1 * i);
  });
  engine.load();
  const images = {
    pixels: squares(count, SIDE),
    labels: undefined,
    count,
    height: SIDE,
    width: SIDE,
    channels: 3,
  };
  const stepsPerEpoch = count / N;
  const indices = (step: number) => Int32Array.from({ length: N }, (_, i) => (step % stepsPerEpoch) * N + i);
  const trainer = { model, engine, batches: { stepsPerEpoch, indices, source: openSource(images, indices, N) } };
  const position = startPosition(spec, []);
  const step = async () => {
    const [metrics] = await trainStep(trainer, position);
    return (metrics as StepMetrics).loss as number;
  };
  return { model, step, settle: () => engine.settle(), [Symbol.dispose]: () => engine.close() };
}

/** Relative error of the loss, every gradient, every parameter and statistic after it. */
function errorsOf(model: Model, loss: number, theirs: (name: string) => Float32Array): [string, number][] {
  // A loss of cosines may be close to 0, where it is small against what it is made of.
  const [expected] = theirs("loss") as unknown as [number];
  const errors: [string, number][] = [["loss", Math.abs(loss - expected) / Math.max(1, Math.abs(expected))]];
  errors.push(...networkErrors(model, theirs));
  return errors.sort((a, b) => b[1] - a[1]);
}

/** As in methods_step.py. */
const rates = {
  simclr: 5e-4,
  byol: 5e-4,
  simsiam: 5e-5,
  "barlow-twins": 1e-5,
  "moco-v3": 5e-4,
  "moco-v3-vit": 5e-4,
};
const sgd = {
  algorithm: "sgd",
  per: "epoch",
  lr: 5e-4,
  momentum: 0.9,
  weightDecay: 1e-3,
  schedule: "constant",
  warmup: 0,
};
const lars = { ...sgd, algorithm: "lars", lr: 0.03 };

describe.each(devices)("%s", (device) => {
  afterAll(() => useTestDevice("wasm"));

  // A software adapter takes seconds for each; how a batch is split is no matter of the method.
  const all = device === "wasm" || LONG;
  const batch = all ? methods : (["simclr", "byol", "barlow-twins", "moco-v3-vit"] as const);
  const split = all ? methods : (["byol", "simclr"] as const);
  test.each([
    ...batch.map(
      (method) => [`${method}.batch.`, method, { norm: "batch" }, 1, { ...sgd, lr: rates[method] }] as const,
    ),
    ...split.map(
      (method) => [`${method}.split.`, method, { norm: "split" }, 2, { ...sgd, lr: rates[method] }] as const,
    ),
    ["simclr-lars.batch.", "simclr", { norm: "batch" }, 2, lars] as const,
    ...(all ? [["moco-v3-lars.batch.", "moco-v3", { norm: "batch" }, 2, { ...lars, lr: 0.01 }] as const] : []),
  ])(
    "%s: loss, gradients, parameters and statistics equal PyTorch's to 1e-4",
    async (prefix, method, more, steps, optimizer) => {
      const theirs = golden("methods_step.safetensors");
      using run = await open(device, specOf(method, { ...more, epochs: 2, optimizer }), N);
      let loss = Number.NaN;
      for (let step = 0; step < steps; step++) loss = await run.step();
      await run.settle();
      const errors = errorsOf(run.model, loss, (name) => theirs(prefix + name));
      expect(errors.length).toBeGreaterThan(130);
      expect(errors.filter(([, error]) => !(error < 1e-4))).toEqual([]);
    },
  );

  // A software adapter takes a second for a step.
  const [tested, count] = all ? [methods, 50] : [["simclr", "byol", "moco-v3-vit"] as Method[], 4];
  test.each(tested)(`the loss of ${count} steps of %s follows PyTorch's to 1e-3`, async (method) => {
    const losses = golden("methods_curve.safetensors")(method);
    const momentum = "momentum" in own[method] ? { momentum: 0.99 } : {};
    const optimizer = {
      ...sgd,
      lr: {
        simclr: 1e-4,
        byol: 3e-5,
        simsiam: 1e-5,
        "barlow-twins": 1e-6,
        "moco-v3": 1e-5,
        "moco-v3-vit": 1e-3,
      }[method],
      weightDecay: 5e-4,
      schedule: "cosine",
      per: "epoch",
    };
    using run = await open(device, specOf(method, { ...momentum, norm: "batch", epochs: 13, optimizer }), 64);
    const got: number[] = [];
    for (let step = 0; step < count; step++) got.push(await run.step());
    expect(relativeError(got, losses.slice(0, count))).toBeLessThan(1e-3);
  });
});
