/** HDF5 files as h5py wrote them: test/fixtures/hdf5/make.py. */
import { afterAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadArrays } from "../../src/data/arrays/index.ts";
import { listParts } from "../../src/data/image_files.ts";
import { loadDataset } from "../../src/data/index.ts";
import { type FiledImages, isHeld, levelsIn } from "../../src/data/types.ts";
import { datasetSpec } from "../../src/schema/dataset.ts";
import { parseSpec } from "../../src/schema/job.ts";
import files from "../fixtures/hdf5/hdf5.json";
import { held, temporaryFolder } from "../support/helpers.ts";

const folder = temporaryFolder();
afterAll(() => folder[Symbol.dispose]());
const at = (name: string) => join(folder.path, name);
for (const [name, text] of Object.entries(files)) writeFileSync(at(name), Buffer.from(text, "base64"));
const context = { cache: "/nonexistent", log: () => undefined };
const load = (more: object) =>
  loadDataset(parseSpec("pretrain", { dataset: { kind: "array", holdout: 0, ...more } }).dataset, context);
const refused = (more: object, message: string | RegExp) => expect(load(more)).rejects.toThrow(message);

const images = Uint8Array.from({ length: 6 * 8 * 8 * 3 }, (_, i) => (i * 37) % 251);

test("PCam: images in one file, labels [N,1,1,1] in another, a test part of two more", async () => {
  const set = await load({ path: at("pcam_x"), labels: at("pcam_y"), test: at("pcam_x"), testLabels: at("pcam_y") });
  const { train } = set;
  expect([train.count, held(train).height, held(train).width, train.channels]).toEqual([6, 8, 8, 3]);
  expect(held(train).pixels).toEqual(images as never);
  expect(held(train).pixels.buffer).toBeInstanceOf(SharedArrayBuffer);
  expect([...(train.labels ?? [])]).toEqual([1, 0, 1, 1, 0, 0]);
  expect([set.classes, [...(set.test?.labels ?? [])]]).toEqual([
    ["0", "1"],
    [1, 0, 1, 1, 0, 0],
  ]);
});

test("a share is held out in the memory of the images", async () => {
  const set = await load({ path: at("pcam_x"), labels: at("pcam_y"), holdout: 0.3 });
  const part = (of: typeof set.train) =>
    Array.from({ length: of.count }, (_, i) =>
      held(of)
        .pixels.slice(i * 192, (i + 1) * 192)
        .join(),
    );
  const all = Array.from({ length: 6 }, (_, i) => images.slice(i * 192, (i + 1) * 192).join());
  const [train, test] = [part(set.train), part(set.test as typeof set.train)];
  expect([train.length, test.length]).toEqual([4, 2]);
  expect([...train, ...test].sort()).toEqual([...all].sort());
  // In their order, each with its label.
  const labels = [1, 0, 1, 1, 0, 0];
  expect(train).toEqual(all.filter((image) => train.includes(image)));
  for (const [own, of] of [
    [train, set.train],
    [test, set.test],
  ] as const)
    expect([...(of?.labels ?? [])]).toEqual(own.map((image) => labels[all.indexOf(image)] as number));
});

test("what no buffer can hold is streamed, and is what it would be held", async () => {
  for (const [name, more] of [
    ["pcam_x", { labels: at("pcam_y"), holdout: 0.3 }],
    ["nested", { arrays: { images: "planes" }, holdout: 0 }],
  ] as const) {
    const spec = datasetSpec.parse({ kind: "array", path: at(name), ...more }) as Parameters<typeof loadArrays>[0];
    const [whole, streamed] = [await loadArrays(spec, context), await loadArrays(spec, context, 1000)];
    expect([streamed.mean, streamed.std, streamed.classes]).toEqual([whole.mean, whole.std, whole.classes]);
    for (const part of ["train", "test"] as const) {
      const [expected, got] = [whole[part], streamed[part]];
      if (!expected || !got) continue;
      expect([isHeld(got), got.count, got.channels, got.labels]).toEqual([false, expected.count, 3, expected.labels]);
      const { decode, slotBytes } = got as FiledImages;
      expect(slotBytes).toBe(192);
      for (let i = 0; i < got.count; i++) {
        const { pixels, height, width } = await decode(i);
        expect([height, width]).toEqual([8, 8]);
        expect([...pixels]).toEqual([...held(expected).pixels.subarray(i * 192, (i + 1) * 192)]);
      }
    }
  }
});

test("arrays in groups, by what follows the last slash or as the spec names them; other types, planes, a user's block", async () => {
  const found = await load({ path: at("nested") });
  expect(held(found.train).pixels).toEqual(images as never);
  expect([found.classes, [...(found.train.labels ?? [])]]).toEqual([
    ["-7", "293"],
    [1, 0, 1, 1, 0, 0],
  ]);
  for (const name of ["planes", "soft", "cells/images"]) {
    const set = await load({ path: at("nested"), arrays: { images: name } });
    expect([name, held(set.train).pixels]).toEqual([name, images as never]);
  }
  const masks = held((await load({ path: at("nested"), arrays: { images: "masks" } })).train);
  expect([masks.channels, masks.pixels[0], masks.pixels[1]]).toEqual([1, 0, 1]);
  expect(held((await load({ path: at("block") })).train).pixels).toEqual(images as never);
  // One array, whatever its name.
  expect((await load({ path: at("other") })).train.count).toBe(6);
});

test("numbers of 16 bits and floats of six bands, held and streamed", async () => {
  const { File, ready } = await import("h5wasm");
  const { FS } = await ready;
  const count = 4 * 6 * 5 * 7;
  const values = Uint16Array.from({ length: count }, (_, i) => Math.imul(i, 2654435761) >>> 16);
  const file = new File("deep", "w");
  const shape = [4, 6, 5, 7]; // [N,C,H,W]
  file.create_dataset({ name: "x", data: values, shape });
  file.create_dataset({ name: "f", data: Float32Array.from(values, (v) => v / 65_535), shape, dtype: "<f" });
  file.create_dataset({ name: "y", data: Float64Array.of(2, 1, 1, 2), shape: [4], dtype: "<d" });
  file.close();
  writeFileSync(at("deep"), (FS as unknown as { readFile(name: string): Uint8Array }).readFile("deep"));
  const expected = Uint16Array.from({ length: count }, (_, i) => {
    const [band, place, image] = [i % 6, Math.floor(i / 6) % 35, Math.floor(i / 210)];
    return values[image * 210 + band * 35 + place] as number;
  });
  for (const name of ["x", "f"]) {
    const spec = datasetSpec.parse({ kind: "array", path: at("deep"), arrays: { images: name }, holdout: 0 });
    const whole = held((await loadArrays(spec as never, context)).train);
    expect([whole.channels, [...(whole.labels ?? [])]]).toEqual([6, [1, 0, 0, 1]]);
    expect(levelsIn(whole)).toEqual(expected as never);
    const streamed = (await loadArrays(spec as never, context, 100)).train as FiledImages;
    const { pixels } = await streamed.decode(2);
    expect(new Uint16Array(pixels.slice().buffer)).toEqual(expected.slice(420, 630));
  }
});

test("what is not there, or not read, is refused with the names that the file has", async () => {
  const has = "has the arrays masks, names, number, planes, soft, cells/images, cells/labels, cells/scores";
  await refused({ path: at("nested"), arrays: { images: "x" } }, `nested: ${has}`);
  await refused({ path: at("nested"), arrays: { images: "x" } }, 'none of them is arrays.images, "x"');
  await refused({ path: at("nested"), arrays: { labels: "y" } }, 'none of them is arrays.labels, "y"');
  await refused(
    { path: at("nested"), arrays: { images: "cells/scores" } },
    "has the shape [6]; allowed: images [N,H,W]",
  );
  await refused({ path: at("nested"), arrays: { images: "names" } }, "names has numbers of type");
  await refused({ path: at("nested"), arrays: { images: "number" } }, "number is no array");
  await refused({ path: at("lzf") }, "lzf: x is compressed by lzf; allowed: gzip, shuffle, szip");
  expect(() => parseSpec("pretrain", { dataset: { kind: "array", path: "/x", arrays: { image: "x" } } })).toThrow(
    "image",
  );
  const spec = datasetSpec.parse({ kind: "archive", path: at("pcam_x") });
  await expect(listParts(spec as never, context)).rejects.toThrow('is an HDF5 file: its kind is "array"');
});

test("other files that an HDF5 file names are not read: raw data, virtual datasets, links", async () => {
  await refused({ path: at("outside"), arrays: { images: "images" } }, /outside: images .*(external|open)/);
  await refused({ path: at("outside"), arrays: { images: "virtual" } }, "virtual is a virtual dataset of other files");
  await refused({ path: at("outside"), arrays: { images: "link" } }, 'none of them is arrays.images, "link"');
});

test("a file that is cut short or damaged is refused, never read as zeros", async () => {
  const bytes = Buffer.from(files.pcam_x, "base64");
  const write = (name: string, content: Uint8Array) => {
    writeFileSync(at(name), content);
    return at(name);
  };
  for (const length of [8, 100, 1000, bytes.length - 1])
    await refused({ path: write("cut", bytes.subarray(0, length)) }, "cut: is not a readable HDF5 file: ");
  // A bit here and there of a file with checksums.
  const checked = Buffer.from(files.nested, "base64");
  let failed = 0;
  for (let i = 0; i < checked.length; i += 37) {
    const flipped = Buffer.from(checked);
    flipped[i] = (flipped[i] as number) ^ 0x10;
    const path = write("flipped", flipped);
    const set = await load({ path, arrays: { images: "cells/images" } }).catch((error: Error) => {
      expect(error.message).toStartWith(path);
      failed++;
    });
    if (set) expect(held(set.train).pixels).toEqual(images as never);
  }
  expect(failed).toBeGreaterThan(10);
});
