/** Runs as a whole: threads, resume and memory. */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startPosition } from "../../src/engine/metrics.ts";
import { blockNames, floatsOf } from "../../src/engine/state.ts";
import type { Threads } from "../../src/engine/threads/threads.ts";
import { parseSpec } from "../../src/schema/job.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { RunStore } from "../../src/store/run_store.ts";
import { decodeSafetensors, encodeSafetensors } from "../../src/store/safetensors.ts";
import { openBatches } from "../../src/train/batches.ts";
import { pretrain } from "../../src/train/pretrain.ts";
import { drift } from "../../src/train/rings.ts";
import { openSession } from "../../src/train/session.ts";
import { trainStep } from "../../src/train/step.ts";
import { finalFiles, LONG, resultOf, runTo, temporaryFolder, writeFashionLike } from "../support/helpers.ts";

const specFor = (data: string, more: object = {}) =>
  parseSpec("pretrain", {
    dataset: { kind: "fashion-mnist", path: data },
    encoder: { arch: "resnet10", stem: "cifar", width: 4 },
    dim: 16,
    queueSize: 40,
    batchSize: 16,
    splits: 4,
    epochs: 3,
    monitor: { bank: 60, holdout: 20, k: 20 },
    ...more,
  });

const quiet = { cache: "/nonexistent", log: () => undefined, progress: () => undefined };

const run = (spec: ReturnType<typeof specFor>, folder: string, threads: number, stopAtStep?: number) =>
  runTo(spec, folder, { threads, device: "wasm" }, stopAtStep);

test.each([
  ...(LONG ? [["as it is", {}] as const] : []),
  [
    "symmetric, own images masked, AdamW",
    { symmetric: true, maskSameImage: true, optimizer: { algorithm: "adamw", lr: 0.001 } },
  ],
  ["LARS, by step", { optimizer: { algorithm: "lars", lr: 0.3, per: "step", warmup: 1 } }],
] as const)(
  "1, 3 and 8 threads, and 2 that are stopped in mid-epoch twice, leave the same bytes: %s",
  async (_, more) => {
    using data = temporaryFolder();
    writeFashionLike(data.path, 120, 20);
    const spec = specFor(data.path, more);
    const outcomes: unknown[] = [];
    for (const [threads, stops] of [
      [1, []],
      [3, []],
      [8, []],
      [2, [4, 9]],
    ] as const) {
      using folder = temporaryFolder();
      for (const stop of stops) expect(await run(spec, folder.path, threads, stop)).toEqual({ stopped: "shutdown" });
      const result = resultOf(await run(spec, folder.path, threads));
      expect(result.steps).toBe(18);
      outcomes.push(finalFiles(folder.path, result));
    }
    for (const outcome of outcomes) expect(outcome).toEqual(outcomes[0]);
  },
);

test("a damaged newest checkpoint is passed over for the one before, and the run ends the same", async () => {
  using data = temporaryFolder();
  writeFashionLike(data.path, 120, 20);
  const spec = specFor(data.path);
  using whole = temporaryFolder();
  const expected = resultOf(await run(spec, whole.path, 2));
  using folder = temporaryFolder();
  await run(spec, folder.path, 2, 13);
  const damaged = join(folder.path, "runs/run_x/checkpoints/step-000000013.safetensors");
  const bytes = readFileSync(damaged);
  bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
  writeFileSync(damaged, bytes);
  const result = resultOf(await run(spec, folder.path, 2));
  expect(result.checkpoint).toEqual(expected.checkpoint);
});

test("a stop in the middle of a long step leaves the state before it, and the run ends in the same bytes", async () => {
  using data = temporaryFolder();
  writeFashionLike(data.path, 120, 20);
  const spec = specFor(data.path);
  using calm = temporaryFolder();
  const expected = resultOf(await run(spec, calm.path, 2));
  using folder = temporaryFolder();
  const store = new RunStore(new LocalBlobs(folder.path), "run_x");
  const computing = { threads: 2, device: "wasm" } as const;
  for (const stopAt of [4, 10]) {
    let stop: "shutdown" | undefined;
    const stopping = Promise.withResolvers<void>();
    // Any step is a long one here. The stop comes while the step after `stopAt` is under way.
    const report = {
      ...quiet,
      stopRequested: () => stop,
      stopping: stopping.promise,
      progress: ({ step }: { step: number }) => {
        if (step !== stopAt) return;
        setTimeout(() => {
          stop = "shutdown";
          stopping.resolve();
        });
      },
    };
    expect(await pretrain(spec, store, computing, report, 0)).toEqual({ stopped: "shutdown" });
    const [newest] = await store.checkpoints();
    expect(Math.abs((newest?.step as number) - stopAt)).toBeLessThanOrEqual(1);
  }
  const result = resultOf(await run(spec, folder.path, 2));
  expect(finalFiles(folder.path, result)).toEqual(finalFiles(calm.path, expected));
});

test("a checkpoint of the formats before goes on; one of another is refused, naming all", async () => {
  using data = temporaryFolder();
  writeFashionLike(data.path, 120, 20);
  const spec = specFor(data.path);
  using whole = temporaryFolder();
  const expected = resultOf(await run(spec, whole.path, 2));
  // At the end of an epoch: the oldest format has no figures of an epoch that is begun.
  const stopped = async (folder: string) => {
    await run(spec, folder, 2, 12);
    const store = new RunStore(new LocalBlobs(folder), "run_x");
    const found = await store.goodCheckpoint("last");
    if (!found) throw new Error("no checkpoint");
    const { tensors, metadata } = decodeSafetensors(found.bytes, "x");
    return async (more: { format: string; spec?: string }) => {
      const { series, pointers, ...position } = JSON.parse(metadata.position as string);
      const before = { ...position, queuePointer: pointers.queue, ...(more.format.endsWith("3") && { series }) };
      const old = encodeSafetensors(tensors, { ...metadata, ...more, position: JSON.stringify(before) });
      await store.writeCheckpoint({ step: 12, epoch: 2, knn: null }, old, spec.checkpoint);
    };
  };
  for (const format of ["mocod-checkpoint-3", "mocod-checkpoint-2"]) {
    using folder = temporaryFolder();
    const rewrite = await stopped(folder.path);
    await rewrite({ format: "mocod-checkpoint-1" });
    await expect(run(spec, folder.path, 2)).rejects.toThrow(
      "format mocod-checkpoint-4 or mocod-checkpoint-3 or mocod-checkpoint-2 expected, got mocod-checkpoint-1",
    );
    await rewrite({ format, spec: JSON.stringify({ method: "supervised" }) });
    await expect(run(spec, folder.path, 2)).rejects.toThrow(
      "is a checkpoint of method supervised, expected one of moco-v2",
    );
    await rewrite({ format });
    const result = resultOf(await run(spec, folder.path, 2));
    expect(result.checkpoint).toEqual(expected.checkpoint);
  }
});

test("checkpoints by time come between epochs, and leave no trace at the end; one line a step", async () => {
  using data = temporaryFolder();
  writeFashionLike(data.path, 120, 20);
  using folder = temporaryFolder();
  const everyMinutes = 0.0001; // 6 ms: after every step
  const spec = specFor(data.path, { epochs: 2, checkpoint: { everyMinutes } });
  const seen: number[] = [];
  const store = new RunStore(new LocalBlobs(folder.path), "run_x");
  const computing = { threads: 2, device: "wasm" } as const;
  const permit = async () => {
    seen.push((await store.checkpoints()).length);
  };
  await pretrain(spec, store, computing, { ...quiet, permit, stopRequested: () => undefined });
  expect((await store.checkpoints()).map(({ step, epoch }) => [step, epoch])).toEqual([
    [12, 2],
    [6, 1],
  ]);
  expect(seen.length).toBeGreaterThan(12); // two for each checkpoint
  const lines = [
    ...(await store.readLines("steps/epoch-000001.jsonl")),
    ...(await store.readLines("steps/epoch-000002.jsonl")),
  ];
  expect(lines.map((line) => (line as { step: number }).step)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
  expect(Object.keys(lines[3] as object)).toEqual(["epoch", "step", "loss", "top1", "positive", "negative", "lr"]);
});

test.each([false, true])(
  "drift of the queue: none where the key encoder stands still, some where it moves (symmetric: %p)",
  async (symmetric) => {
    using data = temporaryFolder();
    writeFashionLike(data.path, 120, 20);
    const spec = specFor(data.path, { momentum: 1, symmetric });
    const { model, engine, dataset, parts } = await openSession(spec, { threads: 2, device: "wasm", context: quiet });
    const trainer = { model, engine, batches: openBatches(dataset.train, parts.train, spec) };
    const position = startPosition(spec, ["queue"]);
    expect(await drift(trainer, position, "queue")).toBeNull();
    // The queue of 40 holds two batches of 16 (with the symmetric loss one of 32): it wraps, and is found again.
    for (let step = 0; step < 7; step++) await trainStep(trainer, position);
    expect(await drift(trainer, position, "queue")).toBeCloseTo(1, 5);
    const keyParams = floatsOf(model.state, blockNames.params("key"));
    keyParams.forEach((v, i) => {
      keyParams[i] = v + 0.3 * Math.sin(i);
    });
    expect(await drift(trainer, position, "queue")).toBeLessThan(0.9);
    engine.close();
  },
  60_000,
);

test("metrics of an epoch: what the verdict rests on, and the age of the queue", async () => {
  using data = temporaryFolder();
  writeFashionLike(data.path, 120, 20);
  using folder = temporaryFolder();
  // 6 steps of 16 keys an epoch into a queue of 160: full in the second epoch.
  await run(specFor(data.path, { queueSize: 160, epochs: 2 }), folder.path, 2);
  const lines = readFileSync(join(folder.path, "runs/run_x/metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((l) => JSON.parse(l));
  const number = expect.any(Number);
  const spread = { uniformity: number, effectiveRank: number, std: number };
  expect(lines[0]).toEqual({ epoch: 0, step: 0, knn: number, spread });
  expect(lines.map(({ queue }) => queue)).toEqual([
    undefined,
    { oldest: 6, random: expect.closeTo(0.4, 9), drift: null },
    { oldest: 10, random: 0, drift: number },
  ]);
  const { gradient, ...last } = lines[2];
  // Taken before: Bun puts the matchers into the object that it compares.
  const { alignment, positive } = last;
  expect(last).toMatchObject({ loss: number, top1: number, positive: number, negative: number, knn: number, spread });
  expect(alignment).toBeCloseTo(2 - 2 * positive, 9);
  expect(["queue warming", "at chance", "collapsed", "leaking", "learning"]).toContain(last.verdict);
  const layers = Object.keys(gradient);
  expect(layers).toEqual(
    expect.arrayContaining(["conv1", "bn1", "layer1.0.conv2", "layer4.0.downsample.0", "fc.0", "fc.2"]),
  );
  expect(layers.length).toBe(2 + 4 * 4 + 3 * 2 + 2);
  expect(Object.values(gradient).every((norm) => (norm as number) > 0)).toBe(true);
});

test(`${LONG ? 1000 : 200} steps: tensors and heap stay as they were after the third`, async () => {
  using data = temporaryFolder();
  writeFashionLike(data.path, 80, 20);
  const spec = specFor(data.path, {
    encoder: { arch: "resnet18", stem: "imagenet", width: 4 },
    epochs: 300,
    augmentation: { size: 32 },
  });
  const { model, engine, dataset, parts } = await openSession(spec, { threads: 2, device: "wasm", context: quiet });
  const trainer = { model, engine, batches: openBatches(dataset.train, parts.train, spec) };
  const position = startPosition(spec, ["queue"]);
  let early: unknown;
  while (position.step < (LONG ? 1000 : 200)) {
    await trainStep(trainer, position);
    if (position.step === 3) early = await (engine as Threads).pool.run({ kind: "memory" });
  }
  expect(await (engine as Threads).pool.run({ kind: "memory" })).toEqual(early as never);
  engine.close();
});

test("resnet50 with the ImageNet stem trains", async () => {
  using data = temporaryFolder();
  writeFashionLike(data.path, 80, 20);
  using folder = temporaryFolder();
  const encoder = { arch: "resnet50", stem: "imagenet", width: 4 };
  const outcome = await run(specFor(data.path, { encoder, epochs: 1, augmentation: { size: 32 } }), folder.path, 2);
  expect(outcome).toMatchObject({ result: { steps: 4, loss: expect.any(Number), knn: expect.any(Number) } });
});
