/** The table "What becomes of a file" of docs/datasets.md. Expected pixels are Pillow's: test/fixtures/odd_files/make.py. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { inflateSync } from "node:zlib";
import sharp from "sharp";
import { checkDataset } from "../../src/data/check.ts";
import { loadDataset } from "../../src/data/index.ts";
import { openedOpaque } from "../../src/data/opaque.ts";
import { opened } from "../../src/data/pixels.ts";
import { type FiledImages, isHeld } from "../../src/data/types.ts";
import { parseSpec } from "../../src/schema/job.ts";
import files from "../fixtures/odd_files/odd_files.json";
import { held, temporaryFolder } from "../support/helpers.ts";
import { pngHeader } from "../support/image_bytes.ts";

type Name = keyof typeof files;
const names = Object.keys(files) as Name[];
const bytesOf = (name: Name) => Buffer.from(files[name].file, "base64");
const pillow = (name: Name) => inflateSync(Buffer.from(files[name].pixels, "base64"));
const context = { cache: "/nonexistent", log: () => undefined };

async function decoded(bytes: Buffer) {
  const image = opened(bytes).toColourspace("srgb").removeAlpha().raw();
  return image.toBuffer({ resolveWithObject: true });
}

function difference(a: Uint8Array, b: Uint8Array) {
  expect(a.length).toBe(b.length);
  const each = Array.from(a, (v, i) => Math.abs(v - (b[i] as number)));
  return { most: each.reduce((x, y) => Math.max(x, y), 0), mean: each.reduce((x, y) => x + y, 0) / each.length };
}

const isCmyk = (name: string) => name.startsWith("cmyk");
const same = names.filter((name) => !isCmyk(name) && name !== "heic.heic");

test.each(same)("%s has Pillow's pixels", async (name) => {
  const { width, height } = files[name];
  const { data, info } = await decoded(bytesOf(name));
  expect([info.width, info.height, info.channels]).toEqual([width, height, 3]);
  // Every format but AVIF has only one right result; here libheif turns its colours back in another precision.
  expect(difference(data, pillow(name)).most).toBeLessThanOrEqual(name === "avif.avif" ? 1 : 0);
});

test("CMYK goes through a colour profile: alike in every file, and not what Pillow's (255 - c)(255 - k) gives", async () => {
  const all = await Promise.all(
    names.filter(isCmyk).map(async (name) => ({ name, ...(await decoded(bytesOf(name))) })),
  );
  expect(all.map(({ name }) => name)).toEqual(["cmyk-adobe-inverted.jpg", "cmyk-no-marker.jpg", "cmyk.tif"]);
  for (const { name, data, info } of all) {
    expect([info.width, info.height, info.channels]).toEqual([24, 16, 3]);
    // Inverted, black would be white: a mean difference of more than 100.
    expect(difference(data, pillow(name as Name)).mean).toBeLessThan(30);
    expect(difference(data, (all[2] as (typeof all)[number]).data).mean).toBeLessThan(1);
  }
});

test("what is transparent keeps its colours when it is resized, as convert(RGB) before a resize has it", async () => {
  const half = async (name: Name) =>
    (await openedOpaque(bytesOf(name)))
      .resize(8, 8, { fit: "cover" })
      .toColourspace("srgb")
      .removeAlpha()
      .raw()
      .toBuffer();
  for (const name of ["alpha.png", "alpha.webp", "alpha.tif", "16-bit-rgb.png", "png-named.jpg"] as const) {
    expect([name, difference(await half(name), await half("rgb.png")).most <= 1]).toEqual([name, true]);
  }
  expect(await half("palette-transparent.png")).toEqual(await half("palette.png"));
});

const noise = await sharp(
  Uint8Array.from({ length: 48 * 48 * 3 }, (_, i) => Math.imul(i, 2654435761) >>> 24),
  { raw: { width: 48, height: 48, channels: 3 } },
)
  .png()
  .toBuffer();

/** libvips has one buffer of errors for all threads, which another one may have emptied. */
const vips = (message: string) => new RegExp(`${message}|Unknown error`);

/** A collection of one file that cannot be read among 30 that can: its name and what is said of it. */
const broken: [name: string, bytes: Buffer, message: RegExp][] = [
  ["empty.jpg", Buffer.alloc(0), /Input Buffer is empty/],
  ["cut.jpg", bytesOf("jpeg.jpg").subarray(0, 700), vips("premature end of JPEG image")],
  ["cut-progressive.jpg", bytesOf("progressive.jpg").subarray(0, -100), vips("premature end of JPEG image")],
  ["cut.png", noise.subarray(0, -1000), vips("libpng read error")],
  ["cut.webp", bytesOf("webp.webp").subarray(0, 100), vips("unable to parse image")],
  ["cut.tif", bytesOf("cmyk.tif").subarray(0, 800), vips("tiff2vips")],
  ["cut.avif", bytesOf("avif.avif").subarray(0, 300), vips("heif: Invalid input")],
  ["page.jpg", Buffer.from("<!DOCTYPE html>\n<title>404</title>"), /is an HTML page, as a failed download leaves/],
  ["lfs.jpg", Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), /is a Git LFS pointer/],
  ["phone.jpg", bytesOf("heic.heic"), /is a HEIC image: convert it to JPEG/],
  ["new.png", Buffer.from("\xff\x0a\x00\x00", "latin1"), /is a JPEG XL image/],
  ["drawing.png", Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), /is an SVG drawing/],
  [
    "late.png",
    Buffer.from(`${" ".repeat(200)}<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>`),
    /unsupported image format/,
  ],
  ["bomb.png", pngHeader(50_000, 50_000), /exceeds pixel limit/],
  ["zeros.jpg", Buffer.alloc(100), /unsupported image format/],
];

test.each(broken)("%s is counted as broken, held and streamed", async (name, bytes, message) => {
  using folder = temporaryFolder();
  for (let i = 0; i < 3; i++) writeFileSync(join(folder.path, `${i}.png`), bytesOf("rgb.png"));
  writeFileSync(join(folder.path, name), bytes);
  const before = process.memoryUsage().rss;
  const specOf = (more: object) =>
    parseSpec("pretrain", { dataset: { kind: "folder", path: folder.path, size: 8, maxSkipped: 0.5, ...more } })
      .dataset;
  const { train } = await checkDataset(specOf({}), context);
  expect([train.images, train.broken]).toEqual([3, [expect.stringMatching(message)]]);
  expect(train.broken[0]).toStartWith(`${name}: `);
  const set = await loadDataset(specOf({ access: "held" }), context);
  expect([held(set.train).count, set.skipped]).toEqual([3, 1]);
  const streamed = (await loadDataset(specOf({ access: "streamed" }), context)).train as FiledImages;
  expect(isHeld(streamed)).toBe(false);
  const all = await Promise.all([0, 1, 2, 3].map((i) => streamed.decode(i)));
  for (const { pixels } of all) expect(pixels).toEqual((all[0] as (typeof all)[number]).pixels);
  expect(process.memoryUsage().rss - before).toBeLessThan(300e6);
});

test("an image of one pixel and one of 4000 x 3 become squares, and streamed keep their sides up to two to one", async () => {
  using folder = temporaryFolder();
  for (const name of ["one-pixel.png", "wide.png"] as const) writeFileSync(join(folder.path, name), bytesOf(name));
  const specOf = (access: string) =>
    parseSpec("pretrain", { dataset: { kind: "folder", path: folder.path, size: 8, maxSkipped: 0, access } }).dataset;
  const { pixels, count } = held((await loadDataset(specOf("held"), context)).train);
  expect(count).toBe(2);
  expect([...pixels.subarray(0, 192)]).toEqual(Array.from({ length: 64 }, () => [10, 20, 30]).flat());
  const streamed = (await loadDataset(specOf("streamed"), context)).train as FiledImages;
  const sides = await Promise.all([0, 1].map(async (i) => streamed.decode(i)));
  expect(sides.map(({ width, height }) => [width, height])).toEqual([
    [1, 1],
    [16, 3],
  ]);
});
