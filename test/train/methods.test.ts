/** Every method on every engine: the same bits however it is computed, exact resume, nothing left behind. */
import { expect, test } from "bun:test";
import { openSource } from "../../src/data/source.ts";
import { type StepMetrics, startPosition } from "../../src/engine/metrics.ts";
import { openEngine, type Tapes, threadsEngine } from "../../src/engine/open.ts";
import { ringsOf, type TrainState } from "../../src/engine/state.ts";
import { methodOf } from "../../src/methods/index.ts";
import { parseSpec } from "../../src/schema/job.ts";
import { methodNames, methodsWith, type PretrainSpec } from "../../src/schema/pretrain.ts";
import { type Trainer, trainStep } from "../../src/train/step.ts";
import { formulaTexts, hashedPixels } from "../golden/formulas.ts";
import { useTestDevice } from "../support/devices.ts";
import {
  finalFiles,
  LONG,
  relativeError,
  resultOf,
  runTo,
  temporaryFolder,
  writeFashionLike,
  writePairs,
} from "../support/helpers.ts";

const [SIDE, N] = [16, 16];

/** Fields of a method's own that make it small, as far as it has them. */
const sizes = {
  dim: 16,
  hidden: 24,
  bottleneck: 8,
  queueSize: 40,
  text: { tokens: { kind: "bytes" }, context: 12, width: 24, depth: 2, heads: 3 },
};

/** Another encoder than a ResNet, behind the method's name. */
const encoders = {
  vit: { arch: "vit-tiny", patch: 4, width: 24, depth: 2, heads: 3 },
  "vit-bn": {
    arch: "vit-tiny",
    patch: 8,
    width: 24,
    depth: 2,
    heads: 2,
    pool: "mean",
    position: "learned",
    mlpNorm: "batch",
    dropPath: 0.4,
  },
} as const;

/** Numbers that move over the run, behind the method's name. */
const scheduled = { finalTemperature: 1.5, optimizer: { weightDecay: 1e-3, finalWeightDecay: 0.1 } };

const isOnPairs = (method: string) => methodsWith("text").includes(method);

export function specOf(name: string, more: object = {}): PretrainSpec {
  const [method, variant] = name.split(" ") as [string, keyof typeof encoders | "scheduled" | undefined];
  const encoder = variant === "scheduled" ? undefined : variant;
  const common = {
    method,
    dataset: isOnPairs(method) ? { kind: "folder", path: "/nonexistent", texts: "beside" } : { kind: "cifar10" },
    encoder: encoder ? encoders[encoder] : { arch: "resnet10", stem: "cifar", width: 4 },
    batchSize: N,
    splits: 4,
    epochs: 3,
    logEvery: 1,
    augmentation: { size: SIDE, blur: 0.5 },
    ...(variant === "scheduled" && { finalTemperature: scheduled.finalTemperature }),
    ...more,
    // Of a ViT clipped, as its gradients would be: to about a tenth.
    optimizer: {
      algorithm: "sgd",
      lr: 0.01,
      warmup: 0,
      ...(encoder === "vit" && { clip: 0.1 }),
      ...(variant === "scheduled" && scheduled.optimizer),
      ...(more as { optimizer?: object }).optimizer,
    },
  };
  const complete = parseSpec("pretrain", common);
  const own = Object.fromEntries(Object.entries(sizes).filter(([field]) => field in complete));
  return parseSpec("pretrain", { ...own, ...common });
}

export const images = { channels: 3, mean: [0.45, 0.45, 0.45], std: [0.25, 0.25, 0.25] };

/** A trainer over images by formula, two steps an epoch. */
export function trainerOf({ model, engine }: Pick<Trainer, "model" | "engine">): Trainer {
  const count = 2 * N;
  const pixels = {
    pixels: hashedPixels(count, SIDE),
    labels: undefined,
    count,
    height: SIDE,
    width: SIDE,
    channels: 3,
  };
  const indices = (step: number) => Int32Array.from({ length: N }, (_, i) => (step % 2) * N + i);
  const batches = { stepsPerEpoch: 2, indices, source: openSource(pixels, indices, N) };
  return { model, engine, batches, texts: formulaTexts(count, sizes.text.context) };
}

/** Losses of some steps, norms of their gradients where the method watches them, and the state after them. */
async function trained(opened: Pick<Trainer, "model" | "engine">, steps: number) {
  const trainer = trainerOf(opened);
  const { model, engine } = trainer;
  const position = startPosition(model.spec, Object.keys(ringsOf(model.spec)));
  const losses: number[] = [];
  const keep = ({ loss, gradientNorm, gradientFirst, gradientLast }: StepMetrics) =>
    losses.push(...[loss, gradientNorm, gradientFirst, gradientLast].filter((v) => v !== undefined));
  for (let step = 0; step < steps; step++) {
    for (const known of await trainStep(trainer, position)) keep(known);
  }
  for (const known of await engine.settle()) keep(known);
  return { losses, state: structuredClone(model.state) as TrainState };
}

/** One name of each algorithm, ViTs, and schedules in a loss over rows and in one over the batch. */
const methods = [
  ...methodNames.filter((name) => name !== "moco-v1"),
  "moco-v3 vit",
  "simclr vit-bn",
  "moco-v3 scheduled",
  ...(LONG ? ["simclr scheduled"] : []),
];
/** How a batch is divided is nothing that a schedule or a norm has a part in. */
const divided = methods.filter((name) => LONG || !/scheduled|vit-bn/.test(name));
/** One of each way in which a step is made: of rows with a queue, of rows of the batch, of the batch, of two towers. */
const typical = LONG ? divided : ["moco-v2", "moco-v3 vit", "simclr", "clip", "clip-queue"];
/** But for those that a golden of this device proves, and in the other test those whose steps are made as another's. */
const onGpu = methods.filter((name) => LONG || !["moco-v2", "moco-v3 vit", "byol", "barlow-twins"].includes(name));
const freed = methods.filter((name) => LONG || !/byol|simsiam|barlow-twins|scheduled|vit-bn/.test(name));
const normed = divided.flatMap((method) => {
  const norms = LONG ? ["split", "batch"] : [typical.includes(method) ? "batch" : "split"];
  return norms.map((norm) => [method, norm] as const);
});

test.each(normed)(
  `%s, norm %s: the same bits for 1${LONG ? ", 3 and 8" : " and 3"} threads, tapes kept or computed again`,
  async (method, norm) => {
    const spec = specOf(method, { norm });
    const outcomes = [];
    const ways: [number, Tapes][] = [[1, "kept"], [3, "recomputed"], ...(LONG ? [[8, "kept"] as [number, Tapes]] : [])];
    for (const [threads, tapes] of ways) {
      const opened = await threadsEngine(spec, images, threads, tapes);
      try {
        outcomes.push(await trained(opened, 2));
      } finally {
        opened.engine.close();
      }
    }
    expect(outcomes[0]?.losses.every(Number.isFinite)).toBe(true);
    for (const outcome of outcomes) expect(outcome).toEqual(outcomes[0] as (typeof outcomes)[number]);
  },
);

test.each(methods)("%s: stopped twice in mid-epoch, it ends in the bytes of an uninterrupted run", async (method) => {
  using data = temporaryFolder();
  const pairs = isOnPairs(method);
  if (pairs) await writePairs(data.path, 60, 20);
  else writeFashionLike(data.path, 60, 20);
  const spec = specOf(method, {
    dataset: pairs ? { kind: "folder", path: data.path, texts: "beside" } : { kind: "fashion-mnist", path: data.path },
    ...(pairs && { text: { ...sizes.text, tokens: { kind: "bpe", vocabulary: 300 } } }),
    monitor: { bank: 30, holdout: 12, k: 5 },
  });
  const outcomes: unknown[] = [];
  for (const [threads, stops] of [
    [2, []],
    [3, [2, 5]],
  ] as const) {
    using folder = temporaryFolder();
    const computing = { threads, device: "wasm" } as const;
    for (const stop of stops) expect(await runTo(spec, folder.path, computing, stop)).toEqual({ stopped: "shutdown" });
    const result = resultOf(await runTo(spec, folder.path, computing));
    expect(result.verdict?.message.length).toBeGreaterThan(20);
    outcomes.push(finalFiles(folder.path, result));
  }
  expect(outcomes[1]).toEqual(outcomes[0]);
});

test.each(onGpu)("%s: WebGPU computes what WASM does, in one pass and in several", async (method) => {
  await useTestDevice("webgpu");
  await useTestDevice("wasm");
  // A small rate: where a ReLU turns over, the next step's gradient jumps.
  const spec = specOf(method, { splits: 2, optimizer: { lr: 1e-5 } });
  const run = async (device: "wasm" | "webgpu", passes?: number) => {
    const context = { cache: "/nonexistent", log: () => undefined };
    const opened = await openEngine({ ...spec, device }, images, { threads: 2, device }, context);
    if (passes) opened.engine.passes = passes;
    try {
      return await trained(opened, 3);
    } finally {
      opened.engine.close();
    }
  };
  const expected = await run("wasm");
  const directions = "symmetric" in spec && !spec.symmetric ? 1 : 2;
  // The fewest that it has room for, and more.
  const more = spec.norm === "batch" ? directions : 2 * directions;
  for (const passes of typical.includes(method) ? [undefined, more] : [undefined]) {
    const { losses, state } = await run("webgpu", passes);
    expect(relativeError(losses, expected.losses)).toBeLessThan(1e-4);
    const errors = Object.entries(expected.state).map(([name, block]): [string, number] => [
      name,
      relativeError(state[name] as Float32Array, block),
    ]);
    expect(errors.filter(([, error]) => !(error < 2e-3))).toEqual([]);
  }
});

test("a step's loss is that of the temperature which it has come to", async () => {
  const lossesOf = async (method: string, temperatures: object) => {
    // Weights that stand still, so that the temperature alone moves the loss. WebGPU is held against WASM above.
    const spec = specOf(method, { ...temperatures, optimizer: { lr: 1e-30, weightDecay: 0 } });
    const opened = await threadsEngine(spec, images, 2, "kept");
    try {
      return (await trained(opened, 5)).losses.filter((_, i, all) => i % (all.length / 5) === 0);
    } finally {
      opened.engine.close();
    }
  };
  for (const method of ["moco-v2", "moco-v3", "simclr"]) {
    const moving = await lossesOf(method, { temperature: 0.1, finalTemperature: 0.7 });
    const constant: number[][] = [];
    // Step 4 of 6 is two thirds of the way.
    for (const step of [0, 4]) {
      const losses = await lossesOf(method, { temperature: 0.7 - 0.6 * ((Math.cos((Math.PI * step) / 6) + 1) / 2) });
      expect(Math.abs((moving[step] as number) / (losses[step] as number) - 1)).toBeLessThan(1e-5);
      constant.push(losses);
    }
    expect(moving[4]).not.toBeCloseTo(constant[0]?.[4] as number, 2);
  }
});

test.each(freed)("%s: no tensor is left behind by a step, whether tapes are kept or not", async (method) => {
  const spec = specOf(method);
  // A loss over rows keeps none.
  const ways: Tapes[] = methodOf(spec).couples === "batch" ? ["kept", "recomputed"] : ["kept"];
  for (const tapes of ways) {
    const opened = await threadsEngine(spec, images, 2, tapes);
    try {
      const trainer = trainerOf(opened);
      const position = startPosition(spec, Object.keys(ringsOf(spec)));
      const counts: unknown[] = [];
      for (let step = 0; step < 3; step++) {
        await trainStep(trainer, position);
        const memory = (await opened.engine.pool.run({ kind: "memory" })) as { tensors: number }[];
        counts.push(memory.map(({ tensors }) => tensors));
      }
      expect(counts[2]).toEqual(counts[0]);
    } finally {
      opened.engine.close();
    }
  }
});

test("threads that wait for one that failed fail too, and the error is that of the one", async () => {
  const spec = specOf("simclr", { norm: "batch" });
  const { model, engine } = await threadsEngine(spec, images, 2, "kept");
  try {
    const trainer = trainerOf({ model, engine });
    // An image of 60,000 x 60,000 pixels: the thread whose split it is in has no memory for it.
    const { at } = trainer.batches.source;
    trainer.batches.source.at = async (step, places) => {
      await at.call(trainer.batches.source, step, places);
      places.set([0, 60_000, 60_000]);
    };
    const failed = await trainStep(trainer, startPosition(spec, [])).catch((error: Error) => error);
    expect(failed).toBeInstanceOf(Error);
    expect((failed as Error).message).toContain("out of memory");
  } finally {
    engine.close();
  }
});
