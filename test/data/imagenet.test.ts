/** ImageNet as it is unpacked and as Kaggle packs it: the classes of train and val agree, whatever list says them. */
import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import sharp from "sharp";
import { listParts } from "../../src/data/image_files.ts";
import { loadDataset } from "../../src/data/index.ts";
import { type DatasetSpec, datasetSpec, withReading } from "../../src/schema/dataset.ts";
import { temporaryFolder } from "../support/helpers.ts";

/** SciPy wrote it: test/fixtures/imagenet_meta.py. */
const META =
  "TUFUTEFCIDUuMCBNQVQtZmlsZSBQbGF0Zm9ybTogcG9zaXgsIENyZWF0ZWQgb246IFNhdCBOb3YgMjggMDY6Mjg6NTIgMjAyNgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABSU0PAAAACQEAAHicpVJNSwMxEJ1+aBVk8Sh4yQ/oodlWu3sTqmBBpCjUYwndrA3uJiWzQf2H/qxmNS1hEQqbgZfwJvPeMEMiAPjpAZza+8yiC39x4rh9go7DwAK/JfIK7XsfIpdPLOZPr8uXWTyi8Wp+D2/P9jjEp9IZHpg05Wq9EUWmuYRfj1q/7x81+nc81HHh5cHV33n6/j/6c6/+0nE5iilNp0nq+Twe8blq+NT8Q1QkV19DsjTFliMp2VqrSmDbufbRVt/19O32QieT8c146vksjvhcN3xq/q6KLBe4GZIZ0wxRGCTMaFYZDJovdD+98P3cxmlCQ//Ng9Fqy5kkudCcICtYyWTGdehedsPzOjU=";
const context = { cache: "/nonexistent", log: () => undefined };
const image = await sharp({ create: { width: 8, height: 8, channels: 3, background: "red" } })
  .jpeg()
  .toBuffer();
const valid = (i: number) => `ILSVRC2012_val_${String(i).padStart(8, "0")}`;
/** The synset of validation image 1, 2 and so on. */
const truth = ["n01629819", "n01443537", "n02119789", "n01443537"];
const synsets = ["n01443537", "n01629819", "n02119789"];

/** Images where a name ends in .JPEG, texts elsewhere. */
function write(folder: string, names: readonly string[], texts: Record<string, string | Buffer> = {}): void {
  for (const [name, content] of [...names.map((name) => [name, image] as const), ...Object.entries(texts)]) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
}

const train = synsets.flatMap((id) => [`train/${id}/${id}_1.JPEG`, `train/${id}/${id}_2.JPEG`]);
const val = truth.map((_, i) => `val/${valid(i + 1)}.JPEG`);
const solution = `ImageId,PredictionString\n${truth.map((id, i) => `${valid(i + 1)},${id} 85 1 499 272 ${id} 3 4 5 6 \n`).join("")}`;
const caffe = truth.map((id, i) => `${valid(i + 1)}.JPEG ${synsets.indexOf(id)}\n`).join("");
const mapping =
  "n01443537 goldfish, Carassius auratus\nn01629819 European fire salamander\nn02119789 kit fox, Vulpes\n";

const listed = (kind: "folder" | "archive", path: string, more: object = {}, roots?: string[]) =>
  listParts(datasetSpec.parse(withReading({ kind, path, ...more })) as Extract<DatasetSpec, { kind: "folder" }>, {
    ...context,
    ...(roots && { roots }),
  });
const classesOf = (files: readonly { className: string | undefined }[] | undefined) =>
  files?.map(({ className }) => className);

test("Kaggle's tree, from its root or from CLS-LOC: val's classes from LOC_val_solution.csv, readable names", async () => {
  using folder = temporaryFolder();
  const below = "ILSVRC/Data/CLS-LOC";
  write(
    folder.path,
    [...train, ...val, "test/ILSVRC2012_test_00000001.JPEG"].map((name) => `${below}/${name}`),
    {
      "LOC_val_solution.csv": solution,
      "LOC_synset_mapping.txt": mapping,
      "LOC_train_solution.csv": "ImageId,PredictionString\n",
      "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml": "<annotation/>",
      // It counts the images, not the classes.
      "ILSVRC/ImageSets/CLS-LOC/val.txt": truth.map((_, i) => `${valid(i + 1)} ${i + 1}\n`).join(""),
    },
  );
  const names = ["n01443537 goldfish", "n01629819 European fire salamander", "n02119789 kit fox"];
  const expected = truth.map((id) => names[synsets.indexOf(id)]);
  for (const path of [folder.path, join(folder.path, below), join(folder.path, below, "/")]) {
    const found = await listed("folder", path);
    expect([found.train.length, found.classes]).toEqual([6, names]);
    expect(classesOf(found.test)).toEqual(expected);
    expect(found.notes.slice(0, 3)).toEqual([
      "train/ is what is trained on (6 images), val/ the test part (4)",
      '1 images in other folders are left out; splits "merge" takes all',
      "classes of ILSVRC2012_val images are read from LOC_val_solution.csv",
    ]);
  }
  expect((await listed("folder", folder.path)).leftOut).toEqual({ ".csv": 1, ".xml": 1 });
  const tar = join(folder.path, "imagenet.tar");
  expect(Bun.spawnSync(["tar", "-cf", tar, "ILSVRC", "LOC_val_solution.csv"], { cwd: folder.path }).exitCode).toBe(0);
  const packed = await listed("archive", tar);
  expect(packed.test?.map(({ name }) => name)).toEqual(val.map((name) => name.slice(4)));
  expect(classesOf(packed.test)).toEqual(expected);
  const set = await loadDataset(
    datasetSpec.parse(withReading({ kind: "folder", path: folder.path, size: 8 })),
    context,
  );
  expect([...(set.test?.labels ?? [])]).toEqual([1, 0, 2, 0]);
});

const lists: [string, Record<string, string | Buffer>, string][] = [
  ["Caffe's val.txt, which counts sorted classes", { "val.txt": caffe }, "val.txt"],
  [
    "the devkit's ground truth and meta.mat",
    {
      "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": "3\n2\n1\n2\n",
      "ILSVRC2012_devkit_t12/data/meta.mat": Buffer.from(META, "base64"),
    },
    "ILSVRC2012_validation_ground_truth.txt",
  ],
  ["Kaggle's list beside val", { "val/LOC_val_solution.csv": solution }, "LOC_val_solution.csv"],
];

test.each(lists)("%s", async (_, texts, from) => {
  using folder = temporaryFolder();
  write(folder.path, [...train, ...val], texts);
  const at = (name: string) => join(folder.path, name);
  const found = await listed("folder", folder.path);
  expect(found.classes).toEqual(synsets);
  expect(classesOf(found.test)).toEqual(truth);
  expect(found.notes).toContain(`classes of ILSVRC2012_val images are read from ${from}`);
  // As two paths: the list is then in the folder above.
  const two = await listed("folder", at("train"), { test: at("val") });
  expect([two.classes, classesOf(two.test)]).toEqual([synsets, truth]);
  // Alone: a share is held out.
  const alone = await listed("folder", at("val"));
  expect(alone.train.length + (alone.test?.length ?? 0)).toBe(4);
  expect(alone.classes.length).toBe(3);
});

test("readable names from synset_words.txt; without a list val has no classes, and it is said what is missing", async () => {
  using folder = temporaryFolder();
  write(folder.path, [...train, ...val], { "synset_words.txt": mapping, "val.txt": caffe });
  expect((await listed("folder", folder.path)).classes[0]).toBe("n01443537 goldfish");
  using bare = temporaryFolder();
  write(bare.path, [...train, ...val], { "ILSVRC2012_validation_ground_truth.txt": "3\n" });
  const found = await listed("folder", bare.path);
  expect(classesOf(found.test)).toEqual([undefined, undefined, undefined, undefined]);
  expect(found.notes).toContain(
    "ILSVRC2012_val images have no classes: ILSVRC2012_validation_ground_truth.txt counts classes by the devkit's meta.mat, which is not beside it",
  );
});

test("a list above the folder is read only where datasets may lie there", async () => {
  using folder = temporaryFolder();
  write(folder.path, val, { "LOC_val_solution.csv": solution });
  const at = join(folder.path, "val");
  expect((await listed("folder", at, {}, [folder.path])).classes.length).toBe(3);
  expect((await listed("folder", at, {}, [at])).classes.length).toBe(0);
});
