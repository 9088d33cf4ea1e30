/** Images of more than 8 bits and of any number of bands, as Pillow, tifffile and NumPy write them (deep.py). */
import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { checkDataset } from "../../src/data/check.ts";
import { readNumbers } from "../../src/data/deep/numbers.ts";
import { loadDataset } from "../../src/data/index.ts";
import { sightDataset } from "../../src/data/sighting.ts";
import { datasetSize } from "../../src/data/size.ts";
import { type Dataset, isHeld, levelsIn } from "../../src/data/types.ts";
import { type DatasetSpec, datasetSpec, withReading } from "../../src/schema/dataset.ts";
import { held, temporaryFolder } from "../support/helpers.ts";
import files from "./deep.json";

const SIDE = 8;
/** The upper `bits` of a hash of each index, as deep.py has them. */
const noise = (bands: number, bits: number) =>
  Uint16Array.from({ length: SIDE * SIDE * bands }, (_, i) => Math.imul(i, 2654435761) >>> (32 - bits));
const [grey12, grey16, rgb, six] = [noise(1, 12), noise(1, 16), noise(3, 16), noise(6, 16)];
/** Grey as RGB. */
const thrice = (values: Uint16Array) =>
  Uint16Array.from({ length: 3 * values.length }, (_, i) => values[Math.floor(i / 3)] as number);
/** Channels `bands`, counted from 1, of an image of six. */
const picked = (bands: readonly number[]) =>
  Uint16Array.from(
    { length: SIDE * SIDE * bands.length },
    (_, i) => six[Math.floor(i / bands.length) * 6 + (bands[i % bands.length] as number) - 1] as number,
  );

type Name = keyof typeof files;
const bytesOf = (name: Name) => Buffer.from(files[name], "base64");
const context = { cache: "/nonexistent", log: () => undefined };

function folderOf(path: string, names: readonly Name[], more: Record<string, Buffer> = {}): string {
  mkdirSync(path, { recursive: true });
  for (const name of names) writeFileSync(join(path, name), bytesOf(name));
  for (const [name, bytes] of Object.entries(more)) writeFileSync(join(path, name), bytes);
  return path;
}
const specOf = (dataset: object): DatasetSpec =>
  datasetSpec.parse(withReading({ kind: "folder", size: SIDE, maxSkipped: 0, ...dataset }));
const arraysOf = (dataset: object): DatasetSpec => datasetSpec.parse(withReading({ kind: "array", ...dataset }));
const levels = ({ train }: Dataset) => levelsIn(held(train));

test.each<[Name, Uint16Array, number]>([
  ["grey12.png", thrice(grey12), 3],
  ["grey16.tif", thrice(grey16), 3],
  ["rgb16.tif", rgb, 3],
  ["six.tif", six, 6],
  ["six_big_endian.tif", six, 6],
  ["six_planes.tif", six, 6],
  ["six_tiled.tif", six, 6],
  ["six_float.tif", six, 6],
  ["double.tif", thrice(grey16), 3],
  ["signed.tif", thrice(grey16), 3],
  ["white.tif", thrice(grey16), 3],
  ["turned.tif", thrice(grey16), 3],
])("%s: every number of it is kept", async (name, expected, channels) => {
  using folder = temporaryFolder();
  const dataset = await loadDataset(specOf({ path: folderOf(folder.path, [name]) }), context);
  expect([dataset.train.channels, dataset.train.valueBytes]).toEqual([channels, 2]);
  expect(levels(dataset)).toEqual(expected as never);
});

test("alpha is left out of RGB, and a band where it is asked for by number", async () => {
  using folder = temporaryFolder();
  const path = folderOf(folder.path, ["rgba16.tif"]);
  const all = noise(4, 16);
  const colours = all.filter((_, i) => i % 4 < 3);
  expect(levels(await loadDataset(specOf({ path }), context))).toEqual(colours as never);
  const alpha = all.filter((_, i) => i % 4 === 3);
  expect(levels(await loadDataset(specOf({ path, bands: [4] }), context))).toEqual(alpha as never);
});

test("bands are taken in the order given; of a TIFF of one band a page, pages are bands", async () => {
  using folder = temporaryFolder();
  for (const name of ["six.tif", "six_pages.tif"] as const) {
    const path = folderOf(join(folder.path, name), [name]);
    for (const bands of [[4, 3, 2], [6], [5, 1]]) {
      const dataset = await loadDataset(specOf({ path, bands }), context);
      expect([dataset.train.channels, levels(dataset)]).toEqual([bands.length, picked(bands)] as never);
    }
    expect(loadDataset(specOf({ path, bands: [7] }), context)).rejects.toThrow(
      `${path}: has no image that can be read (first: ${name}: has 6 channels; band 7 is asked for)`,
    );
  }
  // Without `bands` it is its first page, as it is to Pillow.
  const first = await loadDataset(specOf({ path: join(folder.path, "six_pages.tif") }), context);
  expect(levels(first)).toEqual(thrice(picked([1])) as never);
});

test("bands of 8 bits take one byte each", async () => {
  using folder = temporaryFolder();
  const dataset = await loadDataset(specOf({ path: folderOf(folder.path, ["six_8bit.tif"]) }), context);
  expect([dataset.train.channels, dataset.train.valueBytes]).toEqual([6, 1]);
  expect(levels(dataset)).toEqual(Uint8Array.from(six, (v) => v >> 8) as never);
});

test("range: what becomes 0 and 1 is the type's, given, or a percentile; mean and deviation are of what it makes", async () => {
  using folder = temporaryFolder();
  const path = folderOf(folder.path, ["grey12.png"]);
  const read = (range: unknown) => loadDataset(specOf({ path, range }), context);
  const whole = await read("dtype");
  expect(new Set(levels(whole)).size).toBe(new Set(grey12).size);
  const given = await read([0, 4095]);
  expect(levels(given)).toEqual(thrice(grey12.map((v) => Math.round((v / 4095) * 65_535))) as never);
  const mean = grey12.reduce((sum, v) => sum + v / 4095, 0) / grey12.length;
  expect(given.mean[0]).toBeCloseTo(mean, 4);
  const deviation = Math.sqrt(grey12.reduce((sum, v) => sum + (v / 4095 - mean) ** 2, 0) / grey12.length);
  expect(given.std[0]).toBeCloseTo(deviation, 4);
  expect(given.notes).toContain("RGB of 16 bits; 0 to 1 is 0 to 4095 (range)");
  const sorted = [...grey12].sort((a, b) => a - b);
  const [low, high] = [sorted[0], sorted.at(-1)] as [number, number]; // 64 values: half a percent is none of them
  const cut = await read("percentile");
  expect(levels(cut)).toEqual(thrice(grey12.map((v) => Math.round(((v - low) / (high - low)) * 65_535))) as never);
  const narrow = levels(await read([1000, 2000]));
  expect([...narrow].filter((_, i) => (grey12[Math.floor(i / 3)] as number) <= 1000).every((v) => v === 0)).toBe(true);
  expect(() => specOf({ path, range: [5, 5] })).toThrow("low below high");
});

test("floats of other units than 0 to 1 are refused until a range says what they mean", async () => {
  using folder = temporaryFolder();
  const values = Float32Array.from({ length: SIDE * SIDE }, (_, i) => 100 * i - 50);
  const path = join(folder.path, "float.npy");
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (1, ${SIDE}, ${SIDE}), }`.padEnd(117);
  writeFileSync(
    path,
    Buffer.concat([Buffer.from(`\x93NUMPY\x01\0v\0${header}\n`, "latin1"), Buffer.from(values.buffer)]),
  );
  expect(loadDataset(arraysOf({ path }), context)).rejects.toThrow(`${path}: has floats from -50 to 6250, of which`);
  const given = levels(await loadDataset(arraysOf({ path, range: [-50, 6250] }), context));
  expect([...given.subarray(0, 3)]).toEqual([0, 1, 2].map((i) => Math.round((i / 63) * 65_535)));
});

test("a collection of 8 and 16 bits keeps both, each of its own range; one of 8 bits alone is as ever", async () => {
  using folder = temporaryFolder();
  const plain = await sharp({ create: { width: SIDE, height: SIDE, channels: 3, background: "#336699" } })
    .png()
    .toBuffer();
  const path = folderOf(folder.path, ["rgb16.tif"], { "plain.png": plain });
  const both = levels(await loadDataset(specOf({ path }), context));
  expect([...both.subarray(0, 3)]).toEqual([0x33 * 257, 0x66 * 257, 0x99 * 257]);
  expect(both.subarray(3 * SIDE * SIDE)).toEqual(rgb as never);
  const alone = folderOf(join(folder.path, "alone"), [], { "plain.png": plain });
  const dataset = await loadDataset(specOf({ path: alone }), context);
  expect([dataset.train.valueBytes, dataset.mean, dataset.notes]).toEqual([1, [0.485, 0.456, 0.406], []]);
});

test("jobs of before there was a range read the upper 8 bits, as they did", async () => {
  using folder = temporaryFolder();
  const path = folderOf(folder.path, ["rgb16.tif"]);
  const dataset = await loadDataset(datasetSpec.parse({ kind: "folder", path, size: SIDE }), context);
  expect(dataset.train.valueBytes).toBe(1);
  expect(levels(dataset)).toEqual(Uint8Array.from(rgb, (v) => v >> 8) as never);
});

test("streamed images keep depth, bands and proportions; held ones lose their ends", async () => {
  using folder = temporaryFolder();
  const [width, height] = [48, 12];
  const pixels = Uint16Array.from({ length: width * height }, (_, i) => 1000 * (i % width));
  const wide = await sharp(pixels, { raw: { width, height, channels: 1 } })
    .toColourspace("grey16")
    .png()
    .toBuffer();
  const path = folderOf(folder.path, [], { "wide.png": wide });
  const { train } = await loadDataset(specOf({ path, access: "streamed", size: 12 }), context);
  if (isHeld(train)) throw new Error("it is held");
  const seen = await train.decode(0);
  expect([seen.height, seen.width, train.channels, train.valueBytes]).toEqual([12, 24, 3, 2]); // twice its height
  const line = new Uint16Array(seen.pixels.buffer, seen.pixels.byteOffset, 3 * 24);
  expect([...line].filter((_, i) => i % 3 === 0)).toEqual(Array.from({ length: 24 }, (_, x) => 1000 * (12 + x)));
  const cut = levels(await loadDataset(specOf({ path, access: "held", size: 12 }), context));
  expect(cut[0]).toBe(1000 * 18);
});

test("orientations 1 to 8 are those that sharp turns", async () => {
  const values = Uint8Array.from({ length: 5 * 3 }, (_, i) => 10 * i);
  for (let orientation = 1; orientation <= 8; orientation++) {
    const bytes = await sharp(values, { raw: { width: 5, height: 3, channels: 1 } })
      .withMetadata({ orientation })
      .toColourspace("b-w")
      .tiff({ compression: "none" })
      .toBuffer();
    const ours = await readNumbers(bytes, 0);
    const { data, info } = await sharp(bytes)
      .rotate()
      .toColourspace("srgb")
      .raw()
      .toBuffer({ resolveWithObject: true });
    expect([ours.width, ours.height, [...ours.values]]).toEqual([info.width, info.height, [...data]]);
  }
});

test("what is in it is told before it is read: channels and memory", async () => {
  using folder = temporaryFolder();
  const path = folderOf(folder.path, ["six.tif", "six_float.tif"]);
  const spec = specOf({ path });
  expect(await sightDataset(spec, context)).toMatchObject({ train: 2, channels: 6 });
  expect(await datasetSize(spec, context)).toMatchObject({ images: 2, channels: 6, bytes: 2 * SIDE * SIDE * 6 * 2 });
  const report = await checkDataset(specOf({ path, range: [0, 65_535], bands: [1, 2] }), context);
  expect(report.train).toMatchObject({ images: 2, sizes: { "8x8": 2 }, broken: [] });
  expect(report.train.mean).toHaveLength(2);
  expect(report.notes).toEqual(["2 bands of 16 bits, bands 1, 2 of the files; 0 to 1 is 0 to 65535 (range)"]);
});

test("images of different numbers of bands are refused, or skipped where the first ones agree", async () => {
  using folder = temporaryFolder();
  const path = folderOf(folder.path, ["six.tif", "rgb16.tif"]);
  expect(loadDataset(specOf({ path }), context)).rejects.toThrow(
    `${path}: holds images of 3 and of 6 channels: name those to use (dataset.bands)`,
  );
  const dataset = await loadDataset(specOf({ path, bands: [1, 2, 3], maxSkipped: 0 }), context);
  expect(dataset.train.count).toBe(2);
  const four = await loadDataset(specOf({ path, bands: [4], maxSkipped: 0.5 }), context);
  expect([four.train.count, four.skipped]).toEqual([1, 1]);
});

test.each<[Name, Uint16Array, number]>([
  ["six.npy", six, 6],
  ["six_last.npy", six, 6],
  ["big_endian.npy", grey16, 1],
  ["double.npy", grey16, 1],
  ["signed.npy", grey16, 1],
])("%s: every number of it is kept", async (name, expected, channels) => {
  using folder = temporaryFolder();
  const path = join(folderOf(folder.path, [name]), name);
  const dataset = await loadDataset(arraysOf({ path }), context);
  expect([dataset.train.count, dataset.train.channels, dataset.train.valueBytes]).toEqual([3, channels, 2]);
  expect(levels(dataset).subarray(expected.length, 2 * expected.length)).toEqual(expected as never);
});

test("arrays: half floats to their precision, bands in the order given, a range", async () => {
  using folder = temporaryFolder();
  const at = (name: Name) => join(folderOf(folder.path, [name]), name);
  const read = (of: object) => loadDataset(arraysOf(of), context);
  const half = levels(await read({ path: at("half.npy") }));
  expect(Math.max(...grey16.map((v, i) => Math.abs(v - (half[i] as number))))).toBeLessThan(2 ** 16 / 2 ** 11);
  const some = await read({ path: at("six.npy"), bands: [6, 2] });
  expect(levels(some).subarray(0, 2 * SIDE * SIDE)).toEqual(picked([6, 2]) as never);
  expect(read({ path: at("six.npy"), bands: [9] })).rejects.toThrow("has 6 channels; bands asks for the 9th");
  const cut = await read({ path: at("big_endian.npy"), range: [0, 30_000] });
  expect(levels(cut)[1]).toBe(Math.round((Math.min(30_000, grey16[1] as number) / 30_000) * 65_535));
  expect(cut.notes).toEqual(["1 band of 16 bits; 0 to 1 is 0 to 30000 (range)"]);
});
