import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { FileError } from "../util/errors.ts";
import { download } from "./download.ts";
import { type DataContext, type Dataset, type HeldImages, sharedBytes } from "./types.ts";

const SIDE = 32;
const PLANE = SIDE * SIDE;

interface Cifar {
  name: string;
  url: string;
  sha256: string;
  folder: string;
  train: string[];
  test: string[];
  /** Label bytes before the pixels; the last one is the (fine) class. */
  labelBytes: number;
  classNames: string;
}

const variants: Record<"cifar10" | "cifar100", Cifar> = {
  cifar10: {
    name: "CIFAR-10",
    url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    folder: "cifar-10-batches-bin",
    train: [1, 2, 3, 4, 5].map((i) => `data_batch_${i}.bin`),
    test: ["test_batch.bin"],
    labelBytes: 1,
    classNames: "batches.meta.txt",
  },
  cifar100: {
    name: "CIFAR-100",
    url: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    folder: "cifar-100-binary",
    train: ["train.bin"],
    test: ["test.bin"],
    labelBytes: 2,
    classNames: "fine_label_names.txt",
  },
};

/** Reads official binary batches: [label bytes][1024 red][1024 green][1024 blue], and turns planes into NHWC. */
async function readBatches(folder: string, names: string[], labelBytes: number): Promise<HeldImages> {
  const record = labelBytes + 3 * PLANE;
  const batches: Buffer[] = [];
  for (const name of names) {
    const file = join(folder, name);
    if (!existsSync(file)) throw new FileError(file, "is not there");
    const raw = await readFile(file);
    if (raw.length === 0 || raw.length % record !== 0) {
      throw new FileError(file, `expected a multiple of ${record} bytes, got ${raw.length}`);
    }
    batches.push(raw);
  }
  const raw = Buffer.concat(batches);
  const count = raw.length / record;
  const pixels = sharedBytes(count * 3 * PLANE);
  const labels = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const start = i * record + labelBytes;
    labels[i] = raw[start - 1] as number;
    for (let p = 0; p < PLANE; p++) {
      for (let c = 0; c < 3; c++) pixels[(i * PLANE + p) * 3 + c] = raw[start + c * PLANE + p] as number;
    }
  }
  return { pixels, labels, count, height: SIDE, width: SIDE, channels: 3 };
}

/** CIFAR-10/100 (Krizhevsky 2009) in the official binary format, from `path` or downloaded. */
export async function loadCifar(
  kind: "cifar10" | "cifar100",
  path: string | undefined,
  { cache, log }: DataContext,
): Promise<Dataset<HeldImages>> {
  const variant = variants[kind];
  let folder = path ?? join(cache, variant.folder);
  if (path === undefined && !existsSync(folder)) {
    const archive = join(cache, `${kind}.tar.gz`);
    await download({ url: variant.url, file: archive, sha256: variant.sha256 }, log);
    await new Bun.Archive(gunzipSync(await readFile(archive))).extract(cache);
  }
  if (existsSync(join(folder, variant.folder))) folder = join(folder, variant.folder);
  const [train, test] = await Promise.all([
    readBatches(folder, variant.train, variant.labelBytes),
    readBatches(folder, variant.test, variant.labelBytes),
  ]);
  const classes = (await readFile(join(folder, variant.classNames), "utf8")).split("\n").filter(Boolean);
  return {
    name: variant.name,
    train,
    test,
    classes,
    mean: [0.4914, 0.4822, 0.4465],
    std: [0.2023, 0.1994, 0.201],
    skipped: 0,
  };
}
