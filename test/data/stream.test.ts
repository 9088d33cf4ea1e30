/** Datasets that do not fit into memory: the same images in the same order, decoded ahead, in bounded memory. */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { checkDataset } from "../../src/data/check.ts";
import { loadImageFiles } from "../../src/data/image_files.ts";
import { indexTar } from "../../src/data/listing/tar_index.ts";
import { datasetSize } from "../../src/data/size.ts";
import { openSource, PLACE } from "../../src/data/source.ts";
import { type FiledImages, isHeld } from "../../src/data/types.ts";
import { parseSpec } from "../../src/schema/job.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { RunStore } from "../../src/store/run_store.ts";
import { pretrain } from "../../src/train/pretrain.ts";
import { resultOf, temporaryFolder } from "../support/helpers.ts";

const context = { cache: "/nonexistent", log: () => undefined };

/** PNGs of noise of the given sizes, in two classes. */
async function writeNoise(folder: string, count: number, sizeOf: (i: number) => [width: number, height: number]) {
  for (let i = 0; i < count; i++) {
    const [width, height] = sizeOf(i);
    const pixels = Uint8Array.from(
      { length: width * height * 3 },
      (_, p) => (Math.imul(p + 7919 * i, 2654435761) >>> 24) & 255,
    );
    const path = join(folder, i % 2 ? "odd" : "even");
    mkdirSync(path, { recursive: true });
    await sharp(pixels, { raw: { width, height, channels: 3 } })
      .png()
      .toFile(join(path, `${String(i).padStart(3, "0")}.png`));
  }
}

const files = (path: string, more: object = {}) => ({
  kind: "folder" as const,
  path,
  size: 16,
  access: "streamed" as const,
  maxSkipped: 0,
  ...more,
});

/** Runs a tiny job; returns its checkpoint's checksum, its metrics and its result. */
async function train(spec: object, threads: number) {
  using folder = temporaryFolder();
  const run = new RunStore(new LocalBlobs(folder.path), "run_x");
  const parsed = parseSpec("pretrain", {
    dim: 16,
    queueSize: 40,
    batchSize: 8,
    splits: 2,
    epochs: 2,
    augmentation: { size: 16 },
    encoder: { arch: "resnet10", stem: "cifar", width: 4 },
    monitor: { bank: 40, holdout: 8, k: 5 },
    ...spec,
  });
  const report = { ...context, progress: () => undefined, stopRequested: () => undefined };
  const result = resultOf(await pretrain(parsed, run, { threads, device: "wasm" }, report));
  const metrics = readFileSync(join(folder.path, "runs/run_x/metrics.jsonl"), "utf8");
  return { result, metrics };
}

test("decoded images are kept on disk: a second job reads those, of files that are as they were, and trains the same", async () => {
  using folder = temporaryFolder();
  using cache = temporaryFolder();
  await writeNoise(folder.path, 56, (i) => [16 + (i % 3) * 8, 20]);
  const open = async (more: object, limit?: number) => {
    const said: string[] = [];
    const own = { cache: cache.path, cacheLimit: limit, log: (m: string) => void said.push(m) };
    const { train } = await loadImageFiles(
      parseSpec("pretrain", { dataset: files(folder.path, { holdout: 0, ...more }) }).dataset as never,
      own,
    );
    const all = await Promise.all(Array.from({ length: train.count }, (_, i) => (train as FiledImages).decode(i)));
    return {
      said,
      all: all.map(({ pixels, height, width }) => `${height} ${width} ${Bun.hash(pixels)}`),
    };
  };
  const first = join(folder.path, "even/000.png");
  utimesSync(first, 1, 1);
  const plain = await open({});
  expect((await open({ cache: "disk" })).all).toEqual(plain.all);
  const other = readFileSync(join(folder.path, "even/006.png"));
  // Bytes that only who reads the file can know: of another image, in the time and size of the old one.
  const { size } = statSync(first);
  const forged = Buffer.concat([other, Buffer.alloc(Math.max(0, size - other.length))]).subarray(0, size);
  writeFileSync(first, forged);
  utimesSync(first, 1, 1);
  expect((await open({ cache: "disk" })).all).toEqual(plain.all);
  // Another size of the views, or another time of the file: it is decoded.
  writeFileSync(first, other);
  utimesSync(first, 2, 2);
  const changed = await open({ cache: "disk" });
  expect([changed.all[0] === plain.all[0], changed.all.slice(1)]).toEqual([false, plain.all.slice(1)]);
  const little = await open({ cache: "disk", size: 8 }, 1000);
  expect(little.said.filter((line) => line.includes("MOCOD_CACHE_LIMIT")).length).toBe(1);
  const dataset = { ...files(folder.path), cache: "disk" };
  const spec = parseSpec("pretrain", { dataset, augmentation: { size: 16 } }).dataset;
  expect(await datasetSize(spec, context)).toMatchObject({ streamed: true, disk: 56 * 2 * 16 * 16 * 3 });
});

test("streamed and held images of one size train to the same metrics; any number of threads to the same bytes", async () => {
  using folder = temporaryFolder();
  await writeNoise(folder.path, 48, () => [16, 16]);
  const held = await train({ dataset: files(folder.path, { access: "held" }) }, 2);
  const streamed = await train({ dataset: files(folder.path) }, 2);
  expect(streamed.metrics).toBe(held.metrics);
  expect(held.result.dataWait).toBe(0);
  expect(streamed.result.dataWait).toBeGreaterThanOrEqual(0);
  expect(streamed.result.dataWait).toBeLessThan(1);
  const single = await train({ dataset: files(folder.path) }, 1);
  expect(single.result.checkpoint).toEqual(streamed.result.checkpoint);
}, 60_000);

test("images of any size keep their proportions, up to two to one; views are cut out of the whole of them", async () => {
  using folder = temporaryFolder();
  const sizes: [number, number][] = [
    [40, 30],
    [16, 90],
    [10, 12],
    [200, 20],
  ];
  await writeNoise(folder.path, 24, (i) => sizes[i % 4] as [number, number]);
  const { train: images } = await loadImageFiles(files(folder.path), context);
  expect(isHeld(images)).toBe(false);
  // Sorted by name, so "even" comes first: numbers 0, 2, 4, … then the odd ones.
  const shapes = await Promise.all(
    [0, 1, 12, 13].map(async (i) => (await (images as FiledImages).decode(i)) as { width: number; height: number }),
  );
  expect(shapes.map(({ width, height }) => [width, height])).toEqual([
    [21, 16],
    [10, 12],
    [16, 32],
    [32, 16],
  ]);
  const { result } = await train(
    { dataset: files(folder.path), queueSize: 16, monitor: { bank: 10, holdout: 4, k: 3 } },
    2,
  );
  expect(Number.isFinite(result.loss)).toBe(true);
}, 60_000);

test("batches are decoded ahead in the order of steps, and the memory does not grow with them", async () => {
  const decoded: number[] = [];
  const images: FiledImages = {
    labels: undefined,
    count: 100,
    channels: 3,
    slotBytes: 12,
    decode: async (index) => {
      decoded.push(index);
      return { pixels: new Uint8Array(12).fill(index), height: 2, width: 2 };
    },
  };
  const batch = (step: number) =>
    step < 25 ? Int32Array.of(4 * step, 4 * step + 1, 4 * step + 2, 4 * step + 3) : undefined;
  const source = openSource(images, batch, 4);
  const bytes = source.pixels.length;
  expect(bytes).toBe(3 * 4 * 12); // one in use, two ahead
  const places = new Float64Array(4 * PLACE);
  for (let step = 0; step < 25; step++) {
    await source.at(step, places);
    for (let i = 0; i < 4; i++) {
      const [offset, height, width] = places.subarray(i * PLACE, (i + 1) * PLACE) as unknown as [
        number,
        number,
        number,
      ];
      expect([...source.pixels.subarray(offset, offset + height * width * 3)]).toEqual(Array(12).fill(4 * step + i));
    }
    const ahead = Math.min(25, step + 3) * 4;
    expect(decoded.length).toBe(ahead);
  }
  expect(decoded).toEqual([...Array(100).keys()]);
  // Back, as the queue's drift asks: the same images again, and on from there.
  await source.at(3, places);
  expect(source.pixels[places[0] as number]).toBe(12);
  await source.at(4, places);
  expect(source.pixels[places[0] as number]).toBe(16);
  expect(source.pixels.length).toBe(bytes);
});

test("an unreadable image is replaced by the next one, each time alike; above the limit the job fails and names it", async () => {
  using folder = temporaryFolder();
  await writeNoise(folder.path, 24, () => [16, 16]);
  writeFileSync(join(folder.path, "even", "004.png"), "not an image");
  const open = async (maxSkipped: number) =>
    (await loadImageFiles(files(folder.path, { maxSkipped }), context)).train as FiledImages;
  const images = await open(0.1);
  const [broken, next] = [await images.decode(2), await images.decode(3)];
  expect(broken.pixels).toEqual(next.pixels);
  expect([broken.standIn, next.standIn]).toEqual([3, undefined]);
  // What belongs to an image, as its texts do, has to be that of the one which is shown.
  const batch = (step: number) => (step === 0 ? Int32Array.of(1, 2, 3) : undefined);
  const shown = new Int32Array(3);
  await openSource(images, batch, 3).at(0, new Float64Array(3 * PLACE), shown);
  expect([...shown]).toEqual([1, 3, 3]);
  await expect((await open(0)).decode(2)).rejects.toThrow(/1 of 24 images cannot be read \(first: even\/004\.png/);
  await expect(train({ dataset: files(folder.path) }, 1)).rejects.toThrow("even/004.png");
});

test("auto streams what would take more than 2 GB", async () => {
  using folder = temporaryFolder();
  await writeNoise(folder.path, 4, () => [16, 16]);
  const accessOf = async (size: number) =>
    isHeld((await loadImageFiles(files(folder.path, { access: "auto", size }), context)).train);
  expect(await accessOf(16)).toBe(true);
  expect(await accessOf(16_384)).toBe(false);
});

test.each(["--format=ustar", "--format=pax", "--format=gnu"])(
  "a tar of GNU tar (%s), long names and all",
  async (format) => {
    using folder = temporaryFolder();
    const deep = join("a".repeat(60), "b".repeat(60), "class");
    const short = join("x", "class");
    const names = [
      join(short, "1.png"),
      join(deep, "2.png"),
      ...(format === "--format=ustar" ? [] : [join(deep, `${"ü".repeat(60)}.png`)]),
    ];
    for (const [i, name] of names.entries()) {
      mkdirSync(join(folder.path, "in", name, ".."), { recursive: true });
      writeFileSync(join(folder.path, "in", name), `file ${i} `.repeat(1 + 200 * i));
    }
    const file = join(folder.path, "x.tar");
    const { exitCode } = Bun.spawnSync(["tar", format, "-cf", file, "-C", join(folder.path, "in"), ...names]);
    expect(exitCode).toBe(0);
    const { names: found, offsets, sizes } = indexTar(file);
    expect(found).toEqual(names);
    const bytes = readFileSync(file);
    found.forEach((_, i) => {
      const offset = offsets[i] as number;
      expect(bytes.subarray(offset, offset + (sizes[i] as number)).toString()).toBe(`file ${i} `.repeat(1 + 200 * i));
    });
    writeFileSync(file, bytes.subarray(0, (offsets.at(-1) ?? 0) + 100));
    expect(() => indexTar(file)).toThrow("x.tar: is not a readable tar: it ends at byte");
  },
);

test("data check: counts, sizes, broken files, and moments over every pixel", async () => {
  using folder = temporaryFolder();
  await writeNoise(folder.path, 10, (i) => (i < 4 ? [20, 10] : [16, 16]));
  writeFileSync(join(folder.path, "odd", "broken.jpg"), "no");
  const { train: report, test: none } = await checkDataset(
    parseSpec("pretrain", { dataset: { ...files(folder.path), holdout: 0 } }).dataset,
    context,
  );
  expect(none).toBeNull();
  expect(report).toMatchObject({ images: 10, classes: { even: 5, odd: 5 }, sizes: { "16x16": 6, "20x10": 4 } });
  expect(report.broken).toEqual([expect.stringMatching(/^odd\/broken\.jpg: /)]);
  const all = [...Array(10).keys()].flatMap((i) => {
    const length = (i < 4 ? 200 : 256) * 3;
    return Array.from({ length }, (_, p) => (Math.imul(p + 7919 * i, 2654435761) >>> 24) & 255);
  });
  const red = all.filter((_, i) => i % 3 === 0).map((v) => v / 255);
  const mean = red.reduce((a, b) => a + b) / red.length;
  expect(report.mean[0]).toBeCloseTo(mean, 9);
  expect(report.std[0]).toBeCloseTo(Math.sqrt(red.reduce((sum, v) => sum + (v - mean) ** 2, 0) / red.length), 9);
});
