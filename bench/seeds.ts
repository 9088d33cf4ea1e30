/** What comparisons over several seeds share: runs as lines of a file, their means, and the images of a spec for PyTorch. */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadDataset } from "../src/data/index.ts";
import { partition } from "../src/data/partition.ts";
import type { HeldImages } from "../src/data/types.ts";
import type { PretrainSpec } from "../src/schema/pretrain.ts";
import { encodeNpy as npy } from "../src/store/npy.ts";
import type { Reporter } from "../src/train/reporter.ts";

/** How good an encoder is, top-1 in [0, 1] on test images. */
export interface Judged {
  readonly side: "mocod" | "pytorch";
  readonly seed: number;
  readonly knn: number;
  readonly linear: number;
  readonly untrained: { readonly knn: number; readonly linear: number };
  readonly loss: number;
  readonly seconds: number;
}

/** Of recipe_ours.ts. */
export interface JudgedHere extends Judged {
  readonly pixels: number;
  readonly epochs: number;
  readonly imagesPerSecond: number;
  /** Bytes of the whole process up to the end of pretraining, as the kernel saw it. */
  readonly peak: number;
  readonly verdict: string;
}

/** For runs that say nothing and are never stopped. */
export const silent: Reporter = {
  cache: join(tmpdir(), "mocod-datasets"),
  log: () => undefined,
  progress: () => undefined,
  stopRequested: () => undefined,
};

/** A file of one JSON value a line: what is in it need not be measured again. */
export class Lines<T> {
  readonly all: T[];

  constructor(private readonly file: string) {
    const text = existsSync(file) ? readFileSync(file, "utf8") : "";
    this.all = text
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as T);
  }

  add(value: T): void {
    this.all.push(value);
    appendFileSync(this.file, `${JSON.stringify(value)}\n`);
  }
}

/** Runs a program and returns the last line it printed, parsed. Throws Error where it fails. */
export async function lastLine<T>(command: string[]): Promise<T> {
  const child = Bun.spawn(command, { stdio: ["ignore", "pipe", "inherit"] });
  const lines = (await new Response(child.stdout).text()).trim().split("\n");
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")} failed`);
  return JSON.parse(lines.at(-1) as string) as T;
}

/** Pretrains a spec and probes the features of so many last blocks in a process of its own. `folder`: for its files. */
export function judgedHere(spec: PretrainSpec, folder: string, threads: string, blocks = "1"): Promise<JudgedHere> {
  const file = join(folder, "spec.json");
  writeFileSync(file, JSON.stringify(spec));
  return lastLine([process.execPath, join(import.meta.dir, "recipe_ours.ts"), file, threads, blocks]);
}

/** The images that a run of this spec trains on, and the test images, as the scripts of `peers` read them. */
export async function writeImages(spec: PretrainSpec, folder: string): Promise<void> {
  const dataset = await loadDataset(spec.dataset, { ...silent, log: console.error });
  const parts = partition(dataset.train.count, spec.monitor.holdout, spec.dataset.images, spec.seed);
  const write = (name: string, images: HeldImages, indices: Int32Array) => {
    const bytes = images.height * images.width * images.channels;
    const pixels = new Uint8Array(indices.length * bytes);
    indices.forEach((index, i) => {
      pixels.set(images.pixels.subarray(index * bytes, (index + 1) * bytes), i * bytes);
    });
    const shape = [indices.length, images.height, images.width, images.channels];
    writeFileSync(join(folder, `${name}_x.npy`), npy(shape, pixels));
    const labels = indices.map((index) => images.labels?.[index] as number);
    writeFileSync(join(folder, `${name}_y.npy`), npy([indices.length], labels));
  };
  const test = dataset.test as HeldImages;
  write("train", dataset.train as HeldImages, parts.train);
  write(
    "test",
    test,
    Int32Array.from({ length: test.count }, (_, i) => i),
  );
}

export const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
/** Standard deviation of a sample. */
export const deviation = (values: readonly number[]): number =>
  Math.sqrt(values.reduce((sum, v) => sum + (v - mean(values)) ** 2, 0) / Math.max(1, values.length - 1));

/** Mean, deviation and every seed, in percent. */
export function percents(shares: readonly number[]): string {
  const values = shares.map((share) => 100 * share);
  return `${mean(values).toFixed(1)} ± ${deviation(values).toFixed(1)} (${values.map((v) => v.toFixed(1)).join(", ")})`;
}
