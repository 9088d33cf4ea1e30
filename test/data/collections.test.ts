/** Collections as people have them: in folders with parts, in archives of any kind, in shards, with what systems leave beside them. */
import { expect, test } from "bun:test";
import { readFileSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { zipSync } from "fflate";
import sharp from "sharp";
import { checkDataset } from "../../src/data/check.ts";
import { listParts } from "../../src/data/image_files.ts";
import { loadDataset } from "../../src/data/index.ts";
import { expandBraces } from "../../src/data/listing/names.ts";
import { unpacked } from "../../src/data/listing/unpack.ts";
import { opened } from "../../src/data/pixels.ts";
import { datasetSpec, withReading } from "../../src/schema/dataset.ts";
import { parseSpec } from "../../src/schema/job.ts";
import { CacheFolder } from "../../src/util/cache_folder.ts";
import { held, temporaryFolder } from "../support/helpers.ts";
import { bmp, words } from "../support/image_bytes.ts";
import { writeFiles } from "../support/write_files.ts";
import parquet from "./parquet.json";

const picture = (red: number) =>
  sharp({ create: { width: 20, height: 16, channels: 3, background: { r: red, g: 100, b: 50 } } })
    .png()
    .toBuffer();

const write = (folder: string, files: Record<string, number | string | Uint8Array>) =>
  writeFiles(folder, files, picture);

const said: string[] = [];
const contextIn = (cache: string) => ({ cache, log: (message: string) => void said.push(message) });
const specOf = (kind: "folder" | "archive", path: string, more: object = {}) =>
  datasetSpec.parse(withReading({ kind, path, size: 8, maxSkipped: 0, ...more })) as Extract<
    ReturnType<typeof datasetSpec.parse>,
    { kind: "folder" | "archive" }
  >;
const names = (files: readonly { name: string }[] | undefined) => files?.map(({ name }) => name);

const parts = {
  "train/cat/0.png": 10,
  "train/cat/1.png": 20,
  "train/dog/0.png": 30,
  "val/cat/2.png": 40,
  "val/dog/1.png": 50,
};

test("train and val: one is trained on, the other is the test part, and it is said; merged only when asked", async () => {
  using folder = temporaryFolder();
  const context = contextIn(folder.path);
  const path = join(folder.path, "pets");
  await write(path, { ...parts, "readme.txt": "pets", "extra/cat/9.png": 60 });
  const found = await listParts(specOf("folder", path), context);
  expect(names(found.train)).toEqual(["cat/0.png", "cat/1.png", "dog/0.png"]);
  expect(names(found.test)).toEqual(["cat/2.png", "dog/1.png"]);
  expect(found.classes).toEqual(["cat", "dog"]);
  expect(found.notes).toEqual([
    "train/ is what is trained on (3 images), val/ the test part (2)",
    '1 images in other folders are left out; splits "merge" takes all',
    "left out: 1 .txt",
  ]);
  const merged = await listParts(specOf("folder", path, { splits: "merge", holdout: 0 }), context);
  expect(merged.train.map(({ className }) => className).sort()).toEqual(["cat", "cat", "cat", "dog", "dog", "extra"]);
  // As it was read before there were parts: what a job of then has, it keeps.
  const { splits, classFolder, holdout, ...earlier } = specOf("folder", path);
  const before = await listParts(earlier, context);
  expect([before.train.length, before.test, before.classes]).toEqual([6, undefined, ["cat", "dog"]]);
  const set = await loadDataset(specOf("folder", path), context);
  expect([set.train.count, set.test?.count]).toEqual([3, 2]);
  expect([...(set.test?.labels ?? [])]).toEqual([0, 1]);
});

test("of test and val, the one with classes is the test part", async () => {
  using folder = temporaryFolder();
  await write(folder.path, { ...parts, "test/3.png": 1, "test/4.png": 2 });
  expect(names((await listParts(specOf("folder", folder.path), contextIn(folder.path))).test)).toEqual([
    "cat/2.png",
    "dog/1.png",
  ]);
});

test("tar, tar.gz, tar.zst and zip of a folder are that folder, whatever their name; others are named", async () => {
  using folder = temporaryFolder();
  const context = contextIn(join(folder.path, "cache"));
  await write(join(folder.path, "pets"), parts);
  const at = (name: string) => join(folder.path, name);
  const run = (...command: string[]) => expect(Bun.spawnSync(command, { cwd: folder.path }).exitCode).toBe(0);
  run("tar", "-cf", "a.tar", "pets");
  run("tar", "-czf", "a.tgz", "pets");
  writeFileSync(at("a.zst"), Bun.zstdCompressSync(readFileSync(at("a.tar"))));
  const files = Object.keys(parts).map((name) => [`pets/${name}`, readFileSync(at(`pets/${name}`))] as const);
  writeFileSync(at("a.zip"), zipSync(Object.fromEntries(files)));
  writeFileSync(at("misnamed.jpg"), readFileSync(at("a.tgz")));
  const expected = await loadDataset(specOf("folder", at("pets")), context);
  for (const name of ["a.tar", "a.tgz", "a.zst", "a.zip", "misnamed.jpg"]) {
    const set = await loadDataset(specOf("archive", at(name)), context);
    expect([name, set.classes, set.train.count, set.test?.count]).toEqual([name, ["cat", "dog"], 3, 2]);
    expect("pixels" in set.train && set.train.pixels).toEqual("pixels" in expected.train && expected.train.pixels);
  }
  // Unpacked once; anew when the archive has changed.
  const unpacking = () => said.filter((message) => message.includes("a.tgz: unpacking")).length;
  expect(unpacking()).toBe(1);
  await loadDataset(specOf("archive", at("a.tgz")), context);
  expect(unpacking()).toBe(1);
  utimesSync(at("a.tgz"), 1, 1);
  await loadDataset(specOf("archive", at("a.tgz")), context);
  expect(unpacking()).toBe(2);
  const refused = async (content: Uint8Array, message: string) => {
    writeFileSync(at("x"), content);
    await expect(loadDataset(specOf("archive", at("x")), context)).rejects.toThrow(message);
  };
  await refused(
    Buffer.from("BZh91AY&SY"),
    "is a bzip2 archive: bunzip2 it; what is read: a folder, tar, tar.gz, tar.zst, zip or Parquet",
  );
  await refused(Buffer.from("\x93NUMPY\x01\x00", "latin1"), "is a NumPy array");
  await refused(readFileSync(at("a.tgz")).subarray(0, 200), "cannot be unpacked");
  await refused(readFileSync(at("a.zip")).subarray(0, 300), "is not a readable zip");
  await expect(loadDataset(specOf("archive", at("pets")), context)).rejects.toThrow(
    'is a folder: its kind is "folder"',
  );
  await expect(loadDataset(specOf("folder", at("a.tar")), context)).rejects.toThrow('is a file: its kind is "archive"');
});

test("archives that want to harm: names that lead out, files and tars that grow out of measure", async () => {
  using folder = temporaryFolder();
  const context = contextIn(join(folder.path, "cache"));
  const file = join(folder.path, "x");
  writeFileSync(file, zipSync({ "../../etc/x.png": await picture(1), "a.png": await picture(2) }));
  await expect(loadDataset(specOf("archive", file), context)).rejects.toThrow(/not a readable zip: .*\.\.\/\.\.\/etc/);
  // 64 MB of zeros in 64 KB.
  writeFileSync(file, gzipSync(Buffer.alloc(2 ** 26)));
  expect(statSync(file).size).toBeLessThan(1e5);
  await expect(
    unpacked(file, "gzip", new CacheFolder(folder.path, 1e12, () => undefined), () => undefined, { allowed: 2 ** 20 }),
  ).rejects.toThrow(/cannot be unpacked: unpacks to more than \d+ bytes, 20 times its size/);
  // A directory that promises less than there is.
  const zip = Buffer.from(zipSync({ "a.png": new Uint8Array(1e6), "b.png": await picture(1) }, { level: 9 }));
  const entry = zip.lastIndexOf(Buffer.from("a.png")) - 46;
  expect(zip.readUInt32LE(entry)).toBe(0x02014b50);
  zip.writeUInt32LE(100, entry + 24);
  writeFileSync(file, zip);
  const report = await checkDataset(specOf("archive", file), context);
  expect([report.train.images, report.train.broken.length]).toEqual([1, 1]);
  zip.writeUInt32LE(2 ** 31, entry + 24);
  writeFileSync(file, zip);
  expect((await checkDataset(specOf("archive", file), context)).train.broken).toEqual([
    expect.stringContaining("a.png: unpacks to 2147483648 bytes"),
  ]);
  // 50,000 x 50,000 pixels, said by a header.
  const huge = bmp({ width: 50_000, height: 50_000, bits: 24, rows: Array(46).fill(0) });
  expect(() => opened(huge)).toThrow("image exceeds pixel limit");
  expect(() => opened(Buffer.from("P6 50000 50000 255\n"))).toThrow("image exceeds pixel limit");
});

test("what systems leave beside images is no image, and nothing to count", async () => {
  using folder = temporaryFolder();
  const images = { "photos/a/1.jpg": await picture(1), "photos/b/2.jpg": await picture(2) };
  const rubbish = [
    "__MACOSX/photos/a/._1.jpg",
    "photos/.DS_Store",
    "photos/a/._1.jpg",
    "photos/Thumbs.db",
    "photos/@eaDir/1.jpg",
  ];
  const file = join(folder.path, "mac.zip");
  writeFileSync(
    file,
    zipSync({ ...images, ...Object.fromEntries(rubbish.map((name) => [name, Buffer.from("rubbish")])) }),
  );
  const report = await checkDataset(specOf("archive", file, { holdout: 0 }), contextIn(folder.path));
  expect([report.train.images, report.train.broken, report.leftOut]).toEqual([2, [], {}]);
  expect(report.train.classes).toEqual({ a: 1, b: 1 });
});

test("WebDataset: classes from .cls and .json, shards by a pattern", async () => {
  using folder = temporaryFolder();
  const at = (name: string) => join(folder.path, name);
  await write(at("0"), { "000000.png": 1, "000000.cls": "7\n", "000001.png": 2, "000001.cls": "3" });
  await write(at("1"), {
    "000002.seg.png": 3,
    "000002.json": JSON.stringify({ label: 7, caption: "a cat" }),
    "000003.png": 4,
    "000003.json": JSON.stringify({ cls: "3" }),
  });
  for (const shard of ["0", "1"]) {
    const { exitCode } = Bun.spawnSync(["sh", "-c", `tar -cf ../set-00${shard}.tar *`], { cwd: at(shard) });
    expect(exitCode).toBe(0);
  }
  const path = at("set-{000..001}.tar");
  const found = await listParts(specOf("archive", path, { holdout: 0 }), contextIn(folder.path));
  expect(found.train.map(({ name, className }) => [name, className])).toEqual([
    ["000000.png", "7"],
    ["000001.png", "3"],
    ["000002.seg.png", "7"],
    ["000003.png", "3"],
  ]);
  expect(found.leftOut).toEqual({});
  expect(found.notes).toEqual(["4 classes are read from .cls and .json files"]);
  expect(expandBraces("a-{08..11}-{1..2}.tar")).toEqual(
    ["08", "09", "10", "11"].flatMap((n) => [`a-${n}-1.tar`, `a-${n}-2.tar`]),
  );
  expect(() => expandBraces("{2..1}")).toThrow(RangeError);
  await expect(listParts(specOf("archive", at("set-{000..002}.tar")), contextIn(folder.path))).rejects.toThrow(
    "set-002.tar: is not there",
  );
});

test("Tiny-ImageNet as it is: classes are the first folders, those of val are in its list", async () => {
  using folder = temporaryFolder();
  await write(folder.path, {
    "train/n01443537/images/n01443537_0.JPEG": 1,
    "train/n01443537/n01443537_boxes.txt": "n01443537_0.JPEG\t0\t10\t63\t58",
    "train/n01629819/images/n01629819_0.JPEG": 2,
    "val/images/val_0.JPEG": 3,
    "val/images/val_1.JPEG": 4,
    "val/val_annotations.txt": "val_0.JPEG\tn01629819\t0\t32\t44\t62\nval_1.JPEG\tn01443537\t52\t55\t57\t59\n",
    "test/images/test_0.JPEG": 5,
    "wnids.txt": "n01443537\nn01629819\n",
  });
  const set = await loadDataset(specOf("folder", folder.path), contextIn(folder.path));
  expect(set.classes).toEqual(["n01443537", "n01629819"]);
  expect([[...(set.train.labels ?? [])], [...(set.test?.labels ?? [])]]).toEqual([
    [0, 1],
    [1, 0],
  ]);
  const deepest = await listParts(
    specOf("folder", join(folder.path, "train"), { classFolder: "deepest" }),
    contextIn(""),
  );
  expect(deepest.classes).toEqual(["images"]);
});

test("classes and no test part: a share of each is held out, the same for every run, and it is said", async () => {
  using folder = temporaryFolder();
  const context = contextIn(folder.path);
  const files = Object.fromEntries(
    [...Array(20).keys()].flatMap((i): [string, number][] => [
      [`a/${i}.png`, i],
      ...(i < 10 ? [[`b/${i}.png`, i] as [string, number]] : []),
      ...(i < 1 ? [[`c/${i}.png`, i] as [string, number]] : []),
    ]),
  );
  await write(folder.path, files);
  const found = await listParts(specOf("folder", folder.path), context);
  const count = (of: typeof found.train | undefined) =>
    ["a", "b", "c"].map((name) => of?.filter(({ className }) => className === name).length);
  expect([count(found.train), count(found.test)]).toEqual([
    [18, 9, 1],
    [2, 1, 0],
  ]);
  expect(new Set([...(names(found.train) ?? []), ...(names(found.test) ?? [])]).size).toBe(31);
  expect(found.notes).toEqual(["no test part: 3 of 31 images, 10% of each class, are held out as one"]);
  expect(names((await listParts(specOf("folder", folder.path, { size: 16 }), context)).test)).toEqual(
    names(found.test) as string[],
  );
  const none = await listParts(specOf("folder", folder.path, { holdout: 0 }), context);
  expect([none.train.length, none.test]).toEqual([31, undefined]);
  // One class, or none, is nothing to judge by.
  expect((await listParts(specOf("folder", join(folder.path, "a")), context)).test).toBeUndefined();
});

test("links are not followed, one to the parent least of all; what is left out is counted by extension", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "images");
  await write(path, {
    "a/1.png": 1,
    "b/2.png": 2,
    "a/x.jxl": "?",
    "a/y.JXL": "?",
    "b/z.svg": "<svg/>",
    "b/notes": "?",
  });
  symlinkSync(path, join(path, "loop"));
  symlinkSync(join(path, "a/1.png"), join(path, "b/link.png"));
  const found = await listParts(specOf("folder", path, { holdout: 0 }), contextIn(folder.path));
  expect(names(found.train)).toEqual(["a/1.png", "b/2.png"]);
  expect(found.leftOut).toEqual({ ".jxl": 2, "no extension": 1, ".svg": 1 });
  expect(found.notes[0]).toBe("2 symbolic links are not followed");
  expect(found.notes[1]).toStartWith("left out: 2 .jxl, ");
  await write(join(folder.path, "none"), { "x.heic": "?" });
  await expect(listParts(specOf("folder", join(folder.path, "none")), contextIn(""))).rejects.toThrow(
    "holds no images (JPEG, PNG, WebP, GIF, TIFF, AVIF, BMP, PPM or PGM); it has .heic",
  );
});

/** Pillow 9.4 wrote these of the pixels below: `im.save(…, "BMP")` or "PPM", of modes RGB, RGBA, 1 and L, and of I in 16 bits. */
const pillow = {
  bmp24: "Qk1OAAAAAAAAADYAAAAoAAAAAwAAAAIAAAABABgAAAAAABgAAADEDgAAxA4AAAAAAAAAAAAAHhQKMmTI////AAAAAAD/AP8A/wAAAAAA",
  bmp32: "Qk1OAAAAAAAAADYAAAAoAAAAAwAAAAIAAAABACAAAAAAABgAAADEDgAAxA4AAAAAAAAAAAAAHhQK/zJkyP//////AAD//wD/AP//AAD/",
  bmp1: "Qk1GAAAAAAAAAD4AAAAoAAAAAwAAAAIAAAABAAEAAAAAAAgAAADEDgAAxA4AAAIAAAACAAAAAAAAAP////8gAAAAQAAAAA==",
  ppm: "UDYKMyAyCjI1NQr/AAAA/wAAAP8KFB7IZDL///8=",
  pgm: "UDUKMyAyCjI1NQpMlh0SfP8=",
  pgm16: "UDUKMiAyCjY1NTM1CgAAA+h1MP//",
} as const;
const rgb = [255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30, 200, 100, 50, 255, 255, 255];
const grey = [76, 150, 29, 18, 124, 255];

test("BMP, PPM and PGM are what Pillow wrote, of any depth, from the bottom or the top", async () => {
  const pixels = async (bytes: Buffer) => [
    ...(await opened(bytes).toColourspace("srgb").removeAlpha().raw().toBuffer()),
  ];
  const of = (name: keyof typeof pillow) => Buffer.from(pillow[name], "base64");
  const three = (values: number[]) => values.flatMap((v) => [v, v, v]);
  for (const name of ["bmp24", "bmp32", "ppm"] as const) expect([name, await pixels(of(name))]).toEqual([name, rgb]);
  expect(await pixels(of("pgm"))).toEqual(three(grey));
  expect(await pixels(of("pgm16"))).toEqual(three([0, 4, 117, 255]));
  expect(await pixels(of("bmp1"))).toEqual(three([0, 255, 0, 0, 0, 255]));
  // Rows from the top.
  const flipped = of("bmp24");
  flipped.writeInt32LE(-2, 22);
  expect(await pixels(flipped)).toEqual([...rgb.slice(9), ...rgb.slice(0, 9)]);
  // A palette of four bits: colours 1 2 1 above, 0 1 2 below.
  const table = [...[1, 2, 3, 0], ...[30, 20, 10, 0], ...[9, 9, 9, 0]];
  const rows = [...[0x01, 0x20, 0, 0], ...[0x12, 0x10, 0, 0]];
  const palette = bmp({ width: 3, height: 2, bits: 4, colours: 3, table, rows });
  expect(await pixels(palette)).toEqual([10, 20, 30, 9, 9, 9, 10, 20, 30, 3, 2, 1, 10, 20, 30, 9, 9, 9]);
  palette.set([0x05], 66);
  expect(() => opened(palette)).toThrow("a pixel has colour 5 of 3");
  // 16 bits: five of each channel, or by masks.
  const deep = { width: 1, height: 1, bits: 16 };
  const two = (pixel: number) => [pixel & 255, pixel >> 8, 0, 0];
  expect(await pixels(bmp({ ...deep, rows: two((31 << 10) | (1 << 5) | 16) }))).toEqual([255, 8, 132]);
  const masked = { ...deep, compression: 3, table: words(0xf800, 0x07e0, 0x001f) };
  expect(await pixels(bmp({ ...masked, rows: two((31 << 11) | (63 << 5) | 1) }))).toEqual([255, 255, 8]);
  expect(await pixels(Buffer.from("P3 # text\n2 1 # size\n15\n15 0 0  0 5 15\n"))).toEqual([255, 0, 0, 0, 85, 255]);
  for (const cut of [of("bmp24").subarray(0, 70), of("ppm").subarray(0, 20), Buffer.from("P2 2 1 9 1")]) {
    expect(() => opened(cut)).toThrow(/ends early|missing/);
  }
});

/** pyarrow 25 wrote these: five PNGs of one colour as Hugging Face has them (snappy, three row groups), as bytes alone (zstd), and none. */
test("Parquet of Hugging Face's kind, and with bytes and names alone; one without images names its columns", async () => {
  using folder = temporaryFolder();
  const context = contextIn(folder.path);
  for (const [name, text] of Object.entries(parquet))
    writeFileSync(join(folder.path, name), Buffer.from(text, "base64"));
  const set = await loadDataset(specOf("archive", join(folder.path, "hf"), { holdout: 0 }), context);
  expect([set.classes, [...(set.train.labels ?? [])]]).toEqual([
    ["cat", "dog"],
    [0, 0, 1, 1, 1],
  ]);
  // Images of one class in the order of their rows; image i is of the colour (40 i, 200 - 30 i, 17 i).
  const colours = [1, 4, 0, 2, 3].map((i) => [40 * i, 200 - 30 * i, 17 * i]);
  const { pixels } = held(set.train);
  expect([...Array(5).keys()].map((i) => [...pixels.subarray(i * 192, i * 192 + 3)])).toEqual(colours);
  const plain = await listParts(specOf("archive", join(folder.path, "plain"), { holdout: 0 }), context);
  expect(names(plain.train)).toEqual([
    "a/000000001.jpg",
    "a/000000004.jpg",
    "b/000000000.jpg",
    "b/000000002.jpg",
    "b/000000003.jpg",
  ]);
  await expect(listParts(specOf("archive", join(folder.path, "text")), context)).rejects.toThrow(
    "text: cannot be unpacked: it has the columns text; none of them is called image, img, ",
  );
});

test("tables, CSV and lines of JSON: files, classes and parts by columns; what leads out of the folder is refused by row", async () => {
  using folder = temporaryFolder();
  const context = contextIn(folder.path);
  const at = (name: string) => join(folder.path, name);
  await write(folder.path, { "img/1.png": 10, "img/2.png": 20, "img/b, c.png": 30, "img/4.png": 40 });
  const tableOf = (path: string, more: object = {}) =>
    parseSpec("pretrain", { dataset: { kind: "table", path: at(path), size: 8, ...more } }).dataset;
  writeFileSync(
    at("a.csv"),
    '\ufefffile,label,part\nimg/1.png,cat,train\nimg/2.png,dog,train\n"img/b, c.png",cat,test\n',
  );
  const set = await loadDataset(tableOf("a.csv"), context);
  expect([set.classes, [...(set.train.labels ?? [])], [...(set.test?.labels ?? [])]]).toEqual([
    ["cat", "dog"],
    [0, 1],
    [0],
  ]);
  expect(held(set.train).pixels[0]).toBe(10);
  writeFileSync(at("b.jsonl"), '{"name": "1.png", "y": 3}\n{"name": "4.png", "y": 5}\n');
  const more = { root: at("img"), columns: { file: "name", label: "y" }, holdout: 0 };
  const lines = await loadDataset(tableOf("b.jsonl", more), context);
  expect([lines.classes, [...(lines.train.labels ?? [])], lines.test]).toEqual([["3", "5"], [0, 1], undefined]);
  const refused = async (text: string, message: string) => {
    writeFileSync(at("x.csv"), text);
    await expect(loadDataset(tableOf("x.csv"), context)).rejects.toThrow(message);
  };
  await refused("path\n1.png\n", 'has the columns path; none of them is columns.file, "file"');
  await refused(
    "file\nimg/1.png\n../../etc/passwd\n",
    `row 2: got the file "../../etc/passwd", allowed: a path below ${folder.path}`,
  );
  await refused("file\n/etc/passwd\n", 'row 1: got the file "/etc/passwd"');
  await refused("file,part\nimg/1.png,first\n", 'row 1: got the part "first", allowed: train, training, test');
  await refused('file\n"img/1.png\n', "is neither CSV nor lines of JSON");
  await refused("file,part\nimg/1.png,test\n", "lists no training images");
});
