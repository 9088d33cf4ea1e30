/** Texts of images: beside them, in fields and columns; images without one are left out and named. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { describeReport } from "../../cli/report.ts";
import { checkDataset } from "../../src/data/check.ts";
import { listParts } from "../../src/data/image_files.ts";
import { loadDataset } from "../../src/data/index.ts";
import { sightDataset } from "../../src/data/sighting.ts";
import { type DatasetSpec, datasetSpec, withReading } from "../../src/schema/dataset.ts";
import { parseSpec } from "../../src/schema/job.ts";
import { held, temporaryFolder } from "../support/helpers.ts";
import { writeFiles } from "../support/write_files.ts";
import made from "./texts.json";

const picture = (red: number) =>
  sharp({ create: { width: 10, height: 8, channels: 3, background: { r: red, g: 100, b: 50 } } })
    .png()
    .toBuffer();

const write = (folder: string, files: Record<string, number | string | Uint8Array>) =>
  writeFiles(folder, files, picture);

const contextIn = (cache: string) => ({ cache, log: () => undefined });
const specOf = (kind: string, path: string, texts: unknown, more: object = {}): DatasetSpec =>
  datasetSpec.parse(withReading({ kind, path, texts, size: 8, holdout: 0, ...more }));
const redsOf = (images: Parameters<typeof held>[0]) =>
  Array.from({ length: held(images).count }, (_, i) => held(images).pixels[i * 192]);

test("a .txt beside each image: a line a text, in NFC, in any script; images without one are left out and named", async () => {
  using folder = temporaryFolder();
  const context = contextIn(folder.path);
  await write(folder.path, {
    "cat/1.png": 10,
    "cat/1.txt": "a cat\r\n\n  Катя, une cafe\u0301  \n",
    "cat/2.png": 20,
    "dog/photo.1.png": 30,
    "dog/photo.1.txt": "\ufeff一只狗",
    "dog/photo.2.png": 40,
    "dog/photo.2.txt": " \n\n",
    "dog/latin.png": 50,
    "dog/latin.txt": Buffer.from("chat \xe9gar\xe9", "latin1"),
    "lone.txt": "of no image",
  });
  const spec = specOf("folder", folder.path, "beside");
  const { train, classes, notes } = await loadDataset(spec, context);
  expect(train.texts).toEqual([["a cat", "Катя, une café"], ["一只狗"]]);
  expect(redsOf(train)).toEqual([10, 30]);
  expect([classes, [...(train.labels ?? [])]]).toEqual([
    ["cat", "dog"],
    [0, 1],
  ]);
  expect(notes).toEqual([
    "left out: 1 .txt",
    "1 of 5 training images have no text and are left out (first: cat/2.png)",
    "2 of 4 training images have no text and are left out (first: dog/latin.png: its texts are not UTF-8, dog/photo.2.png)",
  ]);
  const report = await checkDataset(spec, context);
  expect(report.train).toMatchObject({ images: 2, brokenCount: 0 });
  expect(report.train.texts).toEqual({
    images: 2,
    texts: 3,
    meanCharacters: (5 + 14 + 3) / 3,
    mostCharacters: 14,
    withoutCount: 3,
    without: ["cat/2.png", "dog/latin.png: its texts are not UTF-8", "dog/photo.2.png"],
  });
  expect(describeReport(report)).toContain("texts  3 of 2 images, 7.3 characters on average, at most 14");
  // A changed .txt is seen.
  await write(folder.path, { "cat/2.txt": "another cat" });
  expect((await loadDataset(spec, context)).train.texts).toHaveLength(3);
  // Not asked for, none are read, and a report says nothing of them.
  const plain = specOf("folder", folder.path, undefined);
  expect((await loadDataset(plain, context)).train).toMatchObject({ count: 5, texts: undefined });
  expect((await checkDataset(plain, context)).train).not.toHaveProperty("texts");
});

test("unreadable images leave with their texts, held and streamed; a part of its own has its texts", async () => {
  using folder = temporaryFolder();
  const context = contextIn(folder.path);
  const files = Object.fromEntries(
    [...Array(6).keys()].flatMap((i): [string, number | string][] => [
      [`train/${i}.png`, i === 2 ? "no image" : 10 * i],
      [`train/${i}.txt`, `text ${i}`],
      [`val/${i}.png`, 100 + i],
      ...(i % 2 ? [[`val/${i}.txt`, `test ${i}`] as [string, string]] : []),
    ]),
  );
  await write(folder.path, files);
  const set = await loadDataset(specOf("folder", folder.path, "beside", { maxSkipped: 0.5 }), context);
  expect(set.train.texts?.flat()).toEqual([0, 1, 3, 4, 5].map((i) => `text ${i}`));
  expect(redsOf(set.train)).toEqual([0, 10, 30, 40, 50]);
  expect(set.test?.texts?.flat()).toEqual(["test 1", "test 3", "test 5"]);
  expect(redsOf(set.test)).toEqual([101, 103, 105]);
  expect(set.notes).toContain("3 of 6 test images have no text and are left out (first: 0.png, 2.png, 4.png)");
  const streamed = await loadDataset(
    specOf("folder", folder.path, "beside", { maxSkipped: 0.5, access: "streamed" }),
    context,
  );
  expect([streamed.train.count, streamed.train.texts?.length]).toEqual([6, 6]);
});

test("WebDataset's .txt and fields of its .json, from a tar that Python wrote, and its classes as before", async () => {
  using folder = temporaryFolder();
  const context = contextIn(join(folder.path, "cache"));
  const path = join(folder.path, "set.tar");
  writeFileSync(path, Buffer.from(made.tar, "base64"));
  const beside = await loadDataset(specOf("archive", path, "beside"), context);
  expect(beside.train.texts).toEqual([["first", "second"]]);
  const named = await loadDataset(specOf("archive", path, ["caption", "alt"]), context);
  expect(named.train.texts).toEqual([["a", "x", "y"], ["b"]]);
  expect([named.classes, [...(named.train.labels ?? [])]]).toEqual([
    ["0", "1"],
    [0, 1],
  ]);
  await expect(loadDataset(specOf("archive", path, ["title"]), context)).rejects.toThrow(
    'set.tar: texts: none of its 3 images has a text in "title" (first: 000000.png, 000001.png, 000002.png)',
  );
});

test("columns of Parquet, texts and lists of them, as pyarrow writes it; one that is not there is named", async () => {
  using folder = temporaryFolder();
  const context = contextIn(folder.path);
  const path = join(folder.path, "captions");
  writeFileSync(path, Buffer.from(made.parquet, "base64"));
  const textsOf = async (texts: unknown) => (await loadDataset(specOf("archive", path, texts), context)).train.texts;
  expect(await textsOf(["caption"])).toEqual([["a cat"], ["собака"]]);
  const both = [
    ["cat", "animal", "a cat"],
    ["dog", "собака"],
    ["bird", "wing", "sky", "blue", "small"],
  ];
  expect(await textsOf(["keywords", "caption"])).toEqual(both);
  expect(await textsOf(["raw"])).toEqual([["one"], ["two"], ["three"]]);
  expect((await listParts(specOf("archive", path, undefined) as never, context)).train).toHaveLength(4);
  await expect(textsOf(["title"])).rejects.toThrow(
    'captions: cannot be unpacked: it has the columns image, caption, keywords, raw; texts names "title"',
  );
});

test("columns of a CSV that Python wrote, and lists in lines of JSON; one that is not there is named", async () => {
  using folder = temporaryFolder();
  const context = contextIn(folder.path);
  await write(folder.path, { "1.png": 10, "2.png": 20, "3.png": 30, "4.png": 40 });
  const at = (name: string) => join(folder.path, name);
  writeFileSync(at("a.csv"), made.csv);
  writeFileSync(at("b.jsonl"), made.jsonl);
  const { train, test: tested, notes } = await loadDataset(specOf("table", at("a.csv"), ["en", "ru"]), context);
  expect([train.texts, tested?.texts]).toEqual([[['a "cat",\nasleep', "кот"], ["собака"]], [["a cat"]]]);
  expect(notes).toEqual(["1 of 3 training images have no text and are left out (first: 2.png)"]);
  const lines = await loadDataset(specOf("table", at("b.jsonl"), ["en", "ru"]), context);
  expect(lines.train.texts).toEqual([["one", "two", "три"]]);
  await expect(loadDataset(specOf("table", at("a.csv"), ["en", "fr"]), context)).rejects.toThrow(
    'a.csv: has the columns file, label, part, en, ru; none of them is "fr", which texts names',
  );
});

test("a dataset without the texts that it is said to have is refused before anything is trained", async () => {
  using folder = temporaryFolder();
  const context = contextIn(folder.path);
  await write(folder.path, { "cat/1.png": 10, "dog/2.png": 20, "dog/3.png": 30, "dog/4.png": 40 });
  const spec = specOf("folder", folder.path, "beside");
  const message = "texts: none of its 4 images has a text in a .txt beside it (first: cat/1.png, dog/2.png, dog/3.png)";
  await expect(sightDataset(spec, context)).rejects.toThrow(message);
  await write(folder.path, { "cat/1.txt": "", "dog/2.txt": "\n", "dog/3.txt": " ", "dog/4.txt": "" });
  await expect(sightDataset(spec, context)).rejects.toThrow(message);
  await expect(checkDataset(spec, context)).rejects.toThrow(message);
  await write(folder.path, { "dog/4.txt": "a dog" });
  expect(await sightDataset(spec, context)).toMatchObject({ train: 4, classes: 2 });
  const given = (dataset: object) => parseSpec("pretrain", { dataset });
  expect(() => given({ kind: "table", path: "/a.csv", texts: "beside" })).toThrow("texts");
  expect(() => given({ kind: "folder", path: "/a", texts: [] })).toThrow("texts");
  expect(() => given({ kind: "folder", path: "/a", texts: "above" })).toThrow("texts");
  expect(() => given({ kind: "cifar10", texts: "beside" })).toThrow("texts");
});
