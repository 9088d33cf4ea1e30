/** Arrays of images as others write them: NumPy, MedMNIST, MNIST's IDX, STL-10. */
import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { loadDataset } from "../../src/data/index.ts";
import { sightDataset } from "../../src/data/sighting.ts";
import { datasetSize } from "../../src/data/size.ts";
import { levelsIn } from "../../src/data/types.ts";
import { parseSpec } from "../../src/schema/job.ts";
import { held, temporaryFolder } from "../support/helpers.ts";

/** NumPy 1.24 wrote these: `numpy.save` and `numpy.savez_compressed`. */
const numpy = {
  grey: "k05VTVBZAQB2AHsnZGVzY3InOiAnfHUxJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDYsIDQsIDUpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAJUpvlLneCC1Sd5zB5hA1Wn+kye4YPWKHrNH2IEVqj7TZAyhNcpe84QswVXqfxOkTOF2Cp8zxG0Bliq/U+SNIbZK33AYrUHWav+QOM1h9osfsFjtgharP9B5DaI2y1wEmS3CVut8JLlN4ncLnETZbgKXK7xk+Y4g=",
  medmnist:
    "UEsDBBQAAAAIAAAAIQACnyACSAEAAHABAAAQABQAdHJhaW5faW1hZ2VzLm5weQEAEABwAQAAAAAAAEgBAAAAAAAAm+wX6hsQychQxlCtnpJanFykbqWgXlNqqK6joJ6WX1RSlJgXn1+UkgoSd0vMKU4FihdnJBakAvkaJjoKxjoKQNJUU0ehVoEMwMVgmjX/ioBr1fonCqFd+78YpM46z+1Quuq+dEDrrvfaCVNPsVkXLL0l5t2w9ZVa9ISjjGbZC64KulVveKoY1n3gq2Ha7As8jmWrH8gEtu3+oJM47TS7TeGy2+I+jdteq8dMPMZknrPwmpB7zcZnSuE9B78Zpc+5yOtUvuahbFD7no+6SdPPcNgWLb8j4du0/Y1G7KTjzBa5i64Le9Rueq4c0Xvou3HG3Et8zhVrH8kFd+z9pJc84yynXfGKu5J+zTveasZNPsFimbf4hohn3eYXKpF9h3+YZM67zO9Sue6xfEjnvs/6KTPPcdmXrLwn5d+y851W/JSTrFb5S24CAFBLAwQUAAAACAAAACEAoknGw0oAAACEAAAAEAAUAHRyYWluX2xhYmVscy5ucHkBABAAhAAAAAAAAABKAAAAAAAAAJvsF+obEMnIUMZQrZ6SWpxcpG6loF5Taqiuo6Cell9UUpSYF59flJIKEndLzClOBYoXZyQWpAL5GiY6CoaaOgq1CmQDLkYGRgYAUEsDBBQAAAAIAAAAIQAk569WygAAAPgAAAAPABQAdGVzdF9pbWFnZXMubnB5AQAQAPgAAAAAAAAAygAAAAAAAACb7BfqGxDJyFDGUK2eklqcXKRupaBeU2qorqOgnpZfVFKUmBefX5SSChJ3S8wpTgWKF2ckFqQC+RpGOgrGOgomOgqmmjoKtQpkAC4G06z5VwRcq9Y/UQjt2v/FIHXWeW6H0lX3pQNad73XTph6is26YOktMe+Gra/UoiccZTTLXnBV0K16w1PFsO4DXw3TZl/gcSxb/UAmsG33B53EaafZbQqX3Rb3adz2Wj1m4jEm85yF14TcazY+UwrvOfjNKH3ORV6n8jUPZYMAUEsDBBQAAAAIAAAAIQCDF7LlSAAAAIIAAAAPABQAdGVzdF9sYWJlbHMubnB5AQAQAIIAAAAAAAAASAAAAAAAAACb7BfqGxDJyFDGUK2eklqcXKRupaBeU2qorqOgnpZfVFKUmBefX5SSChJ3S8wpTgWKF2ckFqQC+RpGOgqGmjoKtQpkAy4GRgBQSwMEFAAAAAgAAAAhAEIL+LuLAAAAvAAAAA4AFAB2YWxfaW1hZ2VzLm5weQEAEAC8AAAAAAAAAIsAAAAAAAAAm+wX6hsQychQxlCtnpJanFykbqWgXlNqqK6joJ6WX1RSlJgXn1+UkgoSd0vMKU4FihdnJBakAvkahjoKxjoKJjoKppo6CrUKZAAuBtOs+VcEXKvWP1EI7dr/xSB11nluh9JV96UDWne9106YeorNumDpLTHvhq2v1KInHGU0y15wVdCtesNTxbBuAFBLAwQUAAAACAAAACEAjFaFx0cAAACBAAAADgAUAHZhbF9sYWJlbHMubnB5AQAQAIEAAAAAAAAARwAAAAAAAACb7BfqGxDJyFDGUK2eklqcXKRupaBeU2qorqOgnpZfVFKUmBefX5SSChJ3S8wpTgWKF2ckFqQC+RqGOgqGmjoKtQpkAy4GAFBLAQIUAxQAAAAIAAAAIQACnyACSAEAAHABAAAQAAAAAAAAAAAAAACAAQAAAAB0cmFpbl9pbWFnZXMubnB5UEsBAhQDFAAAAAgAAAAhAKJJxsNKAAAAhAAAABAAAAAAAAAAAAAAAIABigEAAHRyYWluX2xhYmVscy5ucHlQSwECFAMUAAAACAAAACEAJOevVsoAAAD4AAAADwAAAAAAAAAAAAAAgAEWAgAAdGVzdF9pbWFnZXMubnB5UEsBAhQDFAAAAAgAAAAhAIMXsuVIAAAAggAAAA8AAAAAAAAAAAAAAIABIQMAAHRlc3RfbGFiZWxzLm5weVBLAQIUAxQAAAAIAAAAIQBCC/i7iwAAALwAAAAOAAAAAAAAAAAAAACAAaoDAAB2YWxfaW1hZ2VzLm5weVBLAQIUAxQAAAAIAAAAIQCMVoXHRwAAAIEAAAAOAAAAAAAAAAAAAACAAXUEAAB2YWxfbGFiZWxzLm5weVBLBQYAAAAABgAGAG4BAAD8BAAAAAA=",
  labels:
    "k05VTVBZAQB2AHsnZGVzY3InOiAnPGk4JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDYsKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoDAAAAAAAAAAcAAAAAAAAAAwAAAAAAAAAHAAAAAAAAAAMAAAAAAAAAAwAAAAAAAAA=",
  float:
    "k05VTVBZAQB2AHsnZGVzY3InOiAnPGY0JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDEsIDQsIDUpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAAAAUQgAAlEIAAN5CAAAUQwAAOUMAAF5DAAAAQQAANEIAAKRCAADuQgAAHEMAAEFDAABmQwAAgEEAAFRCAAC0QgAA/kIAACRDAABJQw==",
  fortran:
    "k05VTVBZAQB2AHsnZGVzY3InOiAnfHUxJywgJ2ZvcnRyYW5fb3JkZXInOiBUcnVlLCAnc2hhcGUnOiAoMiwgNCwgNSksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoA7rmsd2o1KCUY3tGcj1pNSj0I9sG0f3JvYi0g5tmkl5SHUkUQA8m8",
} as const;
const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const context = { cache: "/nonexistent", log: () => undefined };
const specOf = (dataset: object) => parseSpec("pretrain", { dataset }).dataset;
const grey = Uint8Array.from({ length: 6 * 4 * 5 }, (_, i) => (i * 37) % 251);

function files(folder: string) {
  const at = (name: string) => join(folder, name);
  for (const [name, text] of Object.entries(numpy)) writeFileSync(at(name), Buffer.from(text, "base64"));
  return at;
}

test(".npy: grey images, labels in a file of their own, classes by number, a share of each held out", async () => {
  using folder = temporaryFolder();
  const at = files(folder.path);
  const all = await loadDataset(specOf({ kind: "array", path: at("grey"), labels: at("labels"), holdout: 0 }), context);
  const { train } = all;
  expect([train.count, held(train).height, held(train).width, train.channels]).toEqual([6, 4, 5, 1]);
  expect(held(train).pixels).toEqual(grey as never);
  expect([all.classes, [...(train.labels ?? [])], all.test]).toEqual([["3", "7"], [0, 1, 0, 1, 0, 0], undefined]);
  const mean = grey.reduce((sum, v) => sum + v / 255, 0) / grey.length;
  expect(all.mean[0]).toBeCloseTo(mean, 12);
  expect(all.std[0]).toBeCloseTo(Math.sqrt(grey.reduce((sum, v) => sum + (v / 255 - mean) ** 2, 0) / grey.length), 12);
  const spec = specOf({ kind: "array", path: at("grey"), labels: at("labels"), holdout: 0.25 });
  const parted = await loadDataset(spec, context);
  expect([parted.train.count, parted.test?.count]).toEqual([4, 2]);
  expect([...(parted.test?.labels ?? [])].sort()).toEqual([0, 1]);
  const images = [...Array(6).keys()].map((i) => grey.subarray(20 * i, 20 * i + 20).join());
  const split = [parted.train, parted.test as typeof train].flatMap((part) =>
    [...Array(part.count).keys()].map((i) =>
      held(part)
        .pixels.subarray(20 * i, 20 * i + 20)
        .join(),
    ),
  );
  expect(split.sort()).toEqual(images.sort());
  expect(parted.notes).toEqual(["no test part: 2 of 6 images, 25% of each class, are held out as one"]);
  expect(await datasetSize(spec, context)).toEqual({ images: 4, channels: 1, bytes: 120, streamed: false, disk: 0 });
  expect(await sightDataset(spec, context)).toMatchObject({ train: 4, test: 2, classes: 2 });
});

test(".npz of MedMNIST's names, channels first: turned, with its own test part", async () => {
  using folder = temporaryFolder();
  const at = files(folder.path);
  const set = await loadDataset(specOf({ kind: "array", path: at("medmnist") }), context);
  expect([set.train.count, set.test?.count, set.train.channels, held(set.train).height]).toEqual([4, 2, 3, 4]);
  // numpy: ascontiguousarray(images.transpose(0, 2, 3, 1))
  expect(sha(held(set.train).pixels)).toBe("0908c0abc56e351dc393ba3f38728dc177ce479ed77e7aa4a7f160d05b1f7590");
  expect([[...(set.train.labels ?? [])], [...(set.test?.labels ?? [])]]).toEqual([
    [1, 0, 1, 0],
    [0, 1],
  ]);
  expect(set.notes).toEqual(["train_images is what is trained on (4 images), test_images the test part (2)"]);
});

test("IDX, gzipped or not, with a test part of its own", async () => {
  using folder = temporaryFolder();
  const at = files(folder.path);
  const idx = (shape: number[], bytes: Uint8Array) => {
    const head = Buffer.alloc(4 + 4 * shape.length);
    head.set([0, 0, 8, shape.length]);
    for (const [i, side] of shape.entries()) head.writeUInt32BE(side, 4 + 4 * i);
    return Buffer.concat([head, bytes]);
  };
  writeFileSync(at("images"), idx([6, 4, 5], grey));
  writeFileSync(at("images.gz"), gzipSync(idx([6, 4, 5], grey)));
  writeFileSync(at("y"), idx([6], Uint8Array.of(1, 1, 2, 2, 1, 2)));
  const set = await loadDataset(
    specOf({ kind: "array", path: at("images.gz"), labels: at("y"), test: at("images"), testLabels: at("y") }),
    context,
  );
  expect(held(set.train).pixels).toEqual(grey as never);
  expect([[...(set.train.labels ?? [])], set.test?.count]).toEqual([[0, 0, 1, 1, 0, 1], 6]);
});

test("IDX of signed 16-bit numbers, the higher byte first", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "idx2");
  const values = Int16Array.from({ length: 2 * 3 * 4 }, (_, i) => 1000 * i - 9000);
  const data = Buffer.alloc(16 + 2 * values.length);
  data.set([0, 0, 11, 3]);
  for (const [i, side] of [2, 3, 4].entries()) data.writeUInt32BE(side, 4 + 4 * i);
  for (const [i, value] of values.entries()) data.writeInt16BE(value, 16 + 2 * i);
  writeFileSync(path, data);
  const { train } = await loadDataset(specOf({ kind: "array", path }), context);
  expect([...levelsIn(held(train))]).toEqual(Array.from(values, (value) => value + 32_768));
});

test("arrays that are no images are refused, with what they are", async () => {
  using folder = temporaryFolder();
  const at = files(folder.path);
  const refused = (more: object, message: string) =>
    expect(loadDataset(specOf({ kind: "array", ...more }), context)).rejects.toThrow(message);
  await refused(
    { path: at("float") },
    'float: has floats from 0 to 230, of which range "dtype" takes those from 0 to 1; allowed: a range of [low, high] or "percentile"',
  );
  await refused({ path: at("fortran") }, "fortran: is in Fortran's order: save numpy.ascontiguousarray of it");
  await refused(
    { path: at("labels") },
    "labels: has the shape [6]; allowed: images [N,H,W], [N,H,W,C] or [N,C,H,W] of 1 to 64 channels",
  );
  await refused({ path: at("grey"), labels: at("grey") }, "grey: has labels of shape [6,4,5]; allowed: [N] or [N,1]");
  await refused({ path: at("none") }, "none: is not there");
  writeFileSync(at("cut"), Buffer.from(numpy.grey, "base64").subarray(0, 200));
  await refused({ path: at("cut") }, "cut: has 72 bytes of data; its shape needs 120");
  writeFileSync(at("text"), "no array");
  await refused({ path: at("text") }, "text: is neither a .npy, .npz, HDF5 nor IDX file");
  await expect(
    sightDataset(specOf({ kind: "array", path: at("text") }), { ...context, roots: ["/data"] }),
  ).rejects.toThrow("MOCOD_DATASET_ROOTS");
});

test("STL-10: columns become rows; unlabelled for pretraining, labelled for evaluation", async () => {
  using folder = temporaryFolder();
  const bytes = 3 * 96 * 96;
  mkdirSync(join(folder.path, "stl10_binary"));
  const at = (name: string) => join(folder.path, "stl10_binary", name);
  for (const part of ["unlabeled", "train", "test"]) {
    writeFileSync(
      at(`${part}_X.bin`),
      Uint8Array.from({ length: 2 * bytes }, (_, i) => (i * 31) % 253),
    );
  }
  for (const part of ["train", "test"]) writeFileSync(at(`${part}_y.bin`), Uint8Array.of(10, 1));
  writeFileSync(at("class_names.txt"), "airplane\nbird\n");
  const path = join(folder.path, "stl10_binary");
  const set = await loadDataset(specOf({ kind: "stl10", path }), context);
  // As torchvision has it: reshape(-1, 3, 96, 96), transpose(0, 1, 3, 2); then its channels last.
  expect(sha(held(set.train).pixels)).toBe("b3525b1296e2e2d6bb7f128803c202cc602fb790c68c21b00ff35faec166d5e0");
  expect([set.train.labels, [...(set.test?.labels ?? [])], set.classes]).toEqual([
    undefined,
    [9, 0],
    ["airplane", "bird"],
  ]);
  const labelled = await loadDataset(specOf({ kind: "stl10", path, part: "train" }), context);
  expect([...(labelled.train.labels ?? [])]).toEqual([9, 0]);
});
