/** STL-10 (Coates, Ng and Lee 2011) as its authors pack it: 5,000 + 8,000 images of 96x96 in ten classes, 100,000 without. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { DatasetSpec } from "../schema/dataset.ts";
import { FileError } from "../util/errors.ts";
import { type DataContext, type Dataset, type HeldImages, sharedBytes } from "./types.ts";

const SIDE = 96;
const PLANE = SIDE * SIDE;

/** Images are planes of red, green and blue, each column by column. */
async function readPart(folder: string, name: string, labelled: boolean): Promise<HeldImages> {
  const file = join(folder, `${name}_X.bin`);
  if (!existsSync(file)) throw new FileError(file, "is not there");
  const raw = await readFile(file);
  if (raw.length === 0 || raw.length % (3 * PLANE) !== 0) {
    throw new FileError(file, `expected a multiple of ${3 * PLANE} bytes, got ${raw.length}`);
  }
  const count = raw.length / (3 * PLANE);
  const pixels = sharedBytes(raw.length);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) {
      for (let x = 0; x < SIDE; x++) {
        const from = (i * 3 + c) * PLANE + x * SIDE;
        for (let y = 0; y < SIDE; y++) pixels[(i * PLANE + y * SIDE + x) * 3 + c] = raw[from + y] as number;
      }
    }
  }
  const labels = labelled
    ? Int32Array.from(await readFile(join(folder, `${name}_y.bin`)), (label) => label - 1)
    : undefined;
  if (labels && labels.length !== count) throw new FileError(file, `has ${count} images and ${labels.length} labels`);
  return { pixels, labels, count, height: SIDE, width: SIDE, channels: 3 };
}

/** `part` unlabeled is for pretraining; an evaluation names its dataset again, with part train. */
export async function loadStl10(
  { path, part }: Extract<DatasetSpec, { kind: "stl10" }>,
  _: DataContext,
): Promise<Dataset<HeldImages>> {
  const [train, test] = await Promise.all([readPart(path, part, part === "train"), readPart(path, "test", true)]);
  const names = join(path, "class_names.txt");
  const classes = existsSync(names) ? (await readFile(names, "utf8")).split("\n").filter(Boolean) : [];
  return {
    name: "STL-10",
    train,
    test,
    classes: classes.length > 0 ? classes : Array.from({ length: 10 }, (_, i) => String(i + 1)),
    mean: [0.4467, 0.4398, 0.4066],
    std: [0.2603, 0.2566, 0.2713],
    skipped: 0,
  };
}
