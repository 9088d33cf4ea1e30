/** CIFAR-10 as an archive of images, in the official binary files: read in a second, with CIFAR's own mean and deviation. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { loadDataset } from "../../src/data/index.ts";
import { type HeldImages, isHeld } from "../../src/data/types.ts";
import { datasetSpec, withReading } from "../../src/schema/dataset.ts";

const FOLDER = "cifar-10-batches-bin";
const BATCHES = 5;

/** Records of [label][1024 red][1024 green][1024 blue]. */
function recordsOf({ pixels, labels, height, width }: HeldImages, from: number, to: number): Uint8Array {
  const plane = height * width;
  const record = 1 + 3 * plane;
  const out = new Uint8Array((to - from) * record);
  for (let i = from; i < to; i++) {
    const start = (i - from) * record;
    out[start] = labels?.[i] as number;
    for (let p = 0; p < plane; p++) {
      for (let c = 0; c < 3; c++) out[start + 1 + c * plane + p] = pixels[(i * plane + p) * 3 + c] as number;
    }
  }
  return out;
}

/**
 * The folder of the binary files, made of `train.tar` and `test.tar` in `images` where it is not there yet.
 *
 * @param to - Where the files are made.
 */
export async function binaryFiles(images: string, to: string, log: (message: string) => void): Promise<string> {
  const made = [images, to]
    .map((place) => join(place, FOLDER))
    .find((place) => existsSync(join(place, "batches.meta.txt")));
  if (made) return resolve(made);
  const tars = { kind: "tar", path: resolve(images, "train.tar"), test: resolve(images, "test.tar") };
  const { train, test, classes } = await loadDataset(datasetSpec.parse(withReading(tars)), { cache: to, log });
  if (!isHeld(train) || !test || !isHeld(test))
    throw new Error(`${images}: expected images that are held, and a test part`);
  const folder = join(to, FOLDER);
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < BATCHES; i++) {
    const [from, end] = [i, i + 1].map((part) => Math.floor((part * train.count) / BATCHES)) as [number, number];
    writeFileSync(join(folder, `data_batch_${i + 1}.bin`), recordsOf(train, from, end));
  }
  writeFileSync(join(folder, "test_batch.bin"), recordsOf(test, 0, test.count));
  // The last one: a folder that has it is whole.
  writeFileSync(join(folder, "batches.meta.txt"), `${classes.join("\n")}\n`);
  return resolve(folder);
}
