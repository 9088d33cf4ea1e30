/** What a run takes, told before it runs. */
import { expect, test } from "bun:test";
import { expectMemory, footprint, peakOf, recordStep } from "../../src/plan/footprint.ts";
import { plan } from "../../src/plan/plan.ts";
import { parseSpec } from "../../src/schema/job.ts";
import { useTestDevice } from "../support/devices.ts";
import { LONG, peakIn, temporaryFolder, writeFashionLike } from "../support/helpers.ts";

const specOf = (more: object = {}) =>
  parseSpec("pretrain", {
    preset: "cifar",
    dataset: { kind: "cifar10" },
    batchSize: 48,
    splits: 2,
    queueSize: 96,
    epochs: 2,
    encoder: { arch: "resnet10", width: 8 },
    ...more,
  });

test.each([
  ["ResNet-10, CIFAR stem", {}],
  ["images masked, symmetric", { maskSameImage: true, symmetric: true }],
  [
    "ResNet-50, ImageNet stem",
    { encoder: { arch: "resnet50", stem: "imagenet", width: 4 }, augmentation: { size: 64 } },
  ],
])(
  "the heap of a split of 24 follows from those of 2 and 4 to a thousandth: %s",
  async (_, more) => {
    const spec = specOf(more);
    const record = async (n: number) => (await recordStep(spec, 3, n)).all;
    const [small, large, whole] = await Promise.all([record(2), record(4), record(24)]);
    expect(Math.abs(peakOf(small, large, 24) / peakIn(whole) - 1)).toBeLessThan(1e-3);
  },
  60_000,
);

test("a run that cannot have its memory is refused, saying what to lower", async () => {
  const spec = specOf();
  await expectMemory(spec, 3, 2); // here it can
  const { total } = await footprint(spec, 3, 2);
  await expect(expectMemory(spec, 3, 2, total / 2)).rejects.toThrow(
    /out of memory: .* are needed, .* for each of 2 threads; .* are free\. .*24 images \(batchSize 48 \/ splits 2\): raise spec\.splits, or lower spec\.batchSize, spec\.encoder\.width \(8\) or spec\.augmentation\.size \(32\)/,
  );
  const huge = specOf({ batchSize: 4096, splits: 1, queueSize: 4096, encoder: { arch: "resnet18", width: 64 } });
  await expect(expectMemory(huge, 3, 1, 1e15)).rejects.toThrow(/are needed, WASM has 4\.3 GB.*4096 images/);
}, 120_000);

test("tapes that are to be kept are, or the run is refused; those that are not take no memory", async () => {
  const of = (tapes: string) =>
    parseSpec("pretrain", {
      method: "simclr",
      preset: "cifar",
      dataset: { kind: "cifar10" },
      batchSize: 96,
      splits: 12,
      norm: "split",
      encoder: { arch: "resnet10", width: 8 },
      tapes,
    });
  const [kept, recomputed, chosen] = await Promise.all([
    footprint(of("kept"), 3, 2, 1),
    footprint(of("recomputed"), 3, 2),
    footprint(of("auto"), 3, 2, 1),
  ]);
  expect([kept.tapes, recomputed.tapes, chosen.tapes]).toEqual(["kept", "recomputed", "recomputed"]);
  // Twelve units of eight images in a thread, instead of one.
  expect(kept.thread).toBeGreaterThan(3 * recomputed.thread);
  expect(chosen.total).toBe(recomputed.total);
  const between = (kept.total + recomputed.total) / 2;
  expect(await expectMemory(of("auto"), 3, 2, between)).toBe("recomputed");
  await expect(expectMemory(of("kept"), 3, 2, between)).rejects.toThrow(
    /are needed, .* are free\. .*spec\.tapes to "recomputed"/,
  );
  // Where there is plenty neither is worked out.
  expect(await expectMemory(of("kept"), 3, 2, 1e12)).toBe("kept");
  expect(await expectMemory(of("recomputed"), 3, 2, 1e12)).toBe("recomputed");
}, 60_000);

test("a plan: steps of the dataset, memory by part, warnings", async () => {
  using data = temporaryFolder();
  writeFashionLike(data.path, 120, 20);
  const spec = specOf({
    dataset: { kind: "fashion-mnist", path: data.path },
    monitor: { holdout: 20, everyEpochs: 1 },
    augmentation: { size: 28 },
  });
  const { images, memory, time, warnings } = await plan(
    spec,
    { threads: 2, device: "wasm" },
    { cache: "/nonexistent", log: () => undefined },
  );
  expect(images).toBe(100);
  expect(time.stepsPerEpoch).toBe(2);
  expect(time.total).toBeCloseTo(2 * 2 * time.step + 3 * time.watch, 6);
  expect(memory.images).toBe(140 * 28 * 28);
  const { state, thread, checkpoint, program } = memory;
  expect(memory.total).toBeCloseTo(state + 2 * thread + checkpoint + program + memory.images, 0);
  expect(warnings.join()).toContain("queueSize 96");
  const huge = specOf({ batchSize: 4096, splits: 1, queueSize: 4096, encoder: { arch: "resnet18", width: 64 } });
  await expect(
    plan(huge, { threads: 1, device: "wasm" }, { cache: "/nonexistent", log: () => undefined }),
  ).rejects.toThrow("out of memory");
  const tooMany = plan(
    specOf({ batchSize: 500, splits: 2, queueSize: 500, dataset: spec.dataset }),
    { threads: 2, device: "wasm" },
    {
      cache: "/nonexistent",
      log: () => undefined,
    },
  );
  await expect(tooMany).rejects.toThrow("spec.batchSize: the dataset leaves");
}, 60_000);

// A software adapter takes half a minute.
test.if(LONG)(
  "on a GPU: steps of the run's own batch, and what they take there",
  async () => {
    await useTestDevice("webgpu");
    await useTestDevice("wasm");
    using data = temporaryFolder();
    writeFashionLike(data.path, 120, 20);
    const spec = specOf({
      batchSize: 16,
      encoder: { arch: "resnet10", width: 4 },
      augmentation: { size: 16 },
      monitor: { holdout: 20 },
      dataset: { kind: "fashion-mnist", path: data.path },
    });
    const context = { cache: data.path, log: () => undefined };
    const { device, memory, passes, time } = await plan(spec, { threads: 2, device: "webgpu" }, context);
    expect(device).toStartWith("webgpu: ");
    expect(passes).toBe(1);
    expect(memory.gpu).toBeGreaterThan(1e6);
    expect(memory.thread).toBe(0);
    expect(time.epoch).toBeCloseTo(6 * time.step, 6);
    expect(time.total).toBeGreaterThan(2 * time.epoch);
  },
  60_000,
);
