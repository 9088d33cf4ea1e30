/** MoCo through the real path (threads, splits, shuffle, SGD) equals PyTorch in float64: one step, and 50. */
import { afterAll, describe, expect, test } from "bun:test";
import { openSource } from "../../src/data/source.ts";
import { type StepMetrics, startPosition } from "../../src/engine/metrics.ts";
import { openEngine } from "../../src/engine/open.ts";
import { blockNames, floatsOf, intsOf } from "../../src/engine/state.ts";
import { type Layout, toTorch } from "../../src/nn/layout.ts";
import { parseSpec } from "../../src/schema/job.ts";
import type { PretrainSpec } from "../../src/schema/pretrain.ts";
import { trainStep } from "../../src/train/step.ts";
import { fill, hashedPixels, unitWaves } from "../golden/formulas.ts";
import { devices, type TestDevice, useTestDevice } from "../support/devices.ts";
import { golden, LONG, relativeError } from "../support/helpers.ts";

const [WIDTH, SIDE, N, SPLITS, DIM, K] = [4, 16, 16, 2, 16, 40];

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
async function openGolden(device: TestDevice, settings: PretrainSpec, count: number) {
  await useTestDevice(device);
  const spec: PretrainSpec = { ...settings, device, logEvery: 1 };
  const [mean, std] = [Array(3).fill(0.45), Array(3).fill(0.25)];
  const computing = { threads: 2, device };
  const { model, engine } = await openEngine(spec, { channels: 3, mean, std }, computing, {
    cache: "/nonexistent",
    log: () => undefined,
  });
  const { networks, state } = model;
  fill(networks.get("query").params.entries, floatsOf(state, blockNames.params("query")), 0);
  fill(networks.get("key").params.entries, floatsOf(state, blockNames.params("key")), 0.1);
  floatsOf(state, blockNames.ring("queue")).set(unitWaves(K, DIM));
  const images = {
    pixels: hashedPixels(count, SIDE),
    labels: undefined,
    count,
    height: SIDE,
    width: SIDE,
    channels: 3,
  };
  engine.load();
  // In order, four steps an epoch, for ever.
  const stepsPerEpoch = count / N;
  const indices = (step: number) => Int32Array.from({ length: N }, (_, i) => (step % stepsPerEpoch) * N + i);
  const batches = { stepsPerEpoch, indices, source: openSource(images, indices, N) };
  const position = startPosition(spec, ["queue"]);
  const step = async () => {
    const [metrics] = await trainStep({ model, engine, batches }, position);
    return metrics as StepMetrics & { loss: number };
  };
  return { model, position, step, settle: () => engine.settle(), [Symbol.dispose]: () => engine.close() };
}

type Run = Awaited<ReturnType<typeof openGolden>>;

/** Relative error of everything that a step leaves, largest first. `pick`: which places of a tensor the golden holds. */
function errorsOf(run: Run, loss: number, theirs: (name: string) => Float32Array, pick = (v: Float32Array) => v) {
  const { networks, state, buffers } = run.model;
  const errors: [string, number][] = [["loss", relativeError([loss], theirs("loss"))]];
  const compare = (prefix: string, layout: Layout, values: Float32Array) => {
    for (const entry of layout.entries) {
      const { name, offset, size } = entry;
      const got = toTorch(entry, values.subarray(offset, offset + size));
      errors.push([prefix + name, relativeError(pick(got), theirs(prefix + name))]);
    }
  };
  compare("grad.", networks.get("query").params, buffers.gradient);
  for (const [name, prefix] of [
    ["query", "module.encoder_q."],
    ["key", "module.encoder_k."],
  ] as const) {
    const { params, stats } = networks.get(name);
    compare(prefix, params, floatsOf(state, blockNames.params(name)));
    compare(prefix, stats, floatsOf(state, blockNames.stats(name)));
  }
  const queue = toTorch({ shape: [K, DIM], axes: "linear" }, floatsOf(state, blockNames.ring("queue")));
  errors.push(["queue", relativeError(pick(queue), theirs("module.queue"))]);
  return errors.sort((a, b) => b[1] - a[1]);
}

const step = { momentum: 0.9, optimizer: { lr: 0.05, momentum: 0.9, weightDecay: 1e-3, schedule: "constant" } };

describe.each(devices)("%s", (device) => {
  afterAll(() => useTestDevice("wasm"));
  test("MoCo v2: loss, gradients, parameters, statistics and queue after one step equal PyTorch's to 1e-4", async () => {
    const theirs = golden("moco_step.safetensors");
    using run = await openGolden(
      device,
      parseSpec("pretrain", { ...settings, ...step, head: "mlp", temperature: 0.2 }),
      N,
    );
    const { loss } = await run.step();
    await run.settle();
    const errors = errorsOf(run, loss, theirs);
    errors.push(["keys", relativeError(run.model.buffers.targets, theirs("keys"))]);
    expect(errors.length).toBeGreaterThan(200);
    expect(errors.filter(([, error]) => !(error < 1e-4))).toEqual([]);
    expect(run.position).toMatchObject({ step: 1, pointers: { queue: N } });
    expect([...intsOf(run.model.state, blockNames.ringIds("queue")).slice(0, N + 1)]).toEqual([...Array(N).keys(), -1]);
  });

  test.each([
    ["v1", { method: "moco-v1", temperature: 0.07, shuffle: false }, N],
    ["symmetric", { temperature: 0.1, symmetric: true }, 2 * N],
  ] as const)(
    "MoCo, %s: the same after two steps, at up to 61 places of every tensor",
    async (name, more, enqueued) => {
      const theirs = golden("moco_step_more.safetensors");
      const sampled = (v: Float32Array) => v.filter((_, i) => i % Math.max(1, Math.ceil(v.length / 61)) === 0);
      using run = await openGolden(device, parseSpec("pretrain", { ...settings, ...step, head: "linear", ...more }), N);
      await run.step();
      const { loss } = await run.step();
      await run.settle();
      const errors = errorsOf(run, loss, (tensor) => theirs(`${name}.${tensor}`), sampled);
      expect(errors.length).toBeGreaterThan(200);
      expect(errors.filter(([, error]) => !(error < 1e-4))).toEqual([]);
      expect(run.position.pointers.queue).toBe((2 * enqueued) % K);
    },
  );

  test("one split: shuffling changes nothing, and keys return to their places", async () => {
    const losses: number[] = [];
    const keys: Float32Array[] = [];
    for (const shuffle of [true, false]) {
      using run = await openGolden(
        device,
        parseSpec("pretrain", { ...settings, ...step, splits: 1, shuffle, temperature: 0.2 }),
        N,
      );
      losses.push((await run.step()).loss);
      await run.settle();
      keys.push(run.model.buffers.targets.slice());
      const queue = floatsOf(run.model.state, blockNames.ring("queue"));
      for (let row = 0; row < K; row++) {
        expect(Math.hypot(...queue.subarray(row * DIM, (row + 1) * DIM))).toBeCloseTo(1, 5);
      }
    }
    expect(relativeError(keys[0] as Float32Array, keys[1] as Float32Array)).toBeLessThan(1e-5);
    expect(relativeError([losses[0] as number], [losses[1] as number])).toBeLessThan(1e-5);
  });

  const curves = [
    ["moco-v2", { head: "mlp", temperature: 0.2, optimizer: { lr: 0.001, schedule: "cosine" } }],
    ["moco-v1", { head: "linear", temperature: 0.07, optimizer: { lr: 0.01, schedule: "step", milestones: [4, 8] } }],
  ] as const;
  // A software adapter takes a second for a step.
  const [tested, steps] = device === "wasm" || LONG ? [curves, 50] : [curves.slice(0, 1), 6];
  test.each(tested)(
    `the loss of ${steps} steps of %s follows PyTorch's to 1e-3`,
    async (method, { optimizer, ...more }) => {
      const losses = golden("moco_curve.safetensors")(method);
      const common = { ...settings, method, momentum: 0.99, shuffle: false, epochs: 13 };
      const spec = { ...common, ...more, optimizer: { momentum: 0.9, weightDecay: 5e-4, ...optimizer } };
      using run = await openGolden(device, parseSpec("pretrain", spec), 64);
      const got: number[] = [];
      for (let step = 0; step < steps; step++) got.push((await run.step()).loss);
      // The first loss is nearly 0: there float32 logits of 1/T round to 1e-6.
      const off = got.filter(
        (loss, i) => !(Math.abs(loss - (losses[i] as number)) < 1e-3 * (losses[i] as number) + 1e-6),
      );
      expect(off).toEqual([]);
      expect(run.position.pointers.queue).toBe((steps * N) % K);
    },
  );
});
