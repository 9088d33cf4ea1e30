/**
 * A recipe that learns: the CIFAR demo of facebookresearch/moco by mocod and by PyTorch, on the same images, several
 * seeds each. A finished run is one line of the output file, so an interrupted comparison goes on where it was.
 *
 *     bun bench/recipe.ts --dataset fashion-mnist --epochs 8 --out fashion.jsonl
 *     bun bench/recipe.ts --dataset train.tar --test test.tar --epochs 8 --out cifar.jsonl
 */
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadDataset, partition } from "../src/data/index.ts";
import type { HeldImages } from "../src/data/types.ts";
import { parseSpec } from "../src/schema/job.ts";
import { encodeNpy as npy } from "../src/store/npy.ts";

export interface Outcome {
  side: "mocod" | "pytorch";
  seed: number;
  knn: number;
  linear: number;
  untrained: { knn: number; linear: number };
  loss: number;
  seconds: number;
  pixels?: number;
}

const { values: args } = parseArgs({
  options: {
    dataset: { type: "string", default: "fashion-mnist" },
    test: { type: "string" },
    images: { type: "string", default: "10000" },
    width: { type: "string", default: "16" },
    batch: { type: "string", default: "64" },
    epochs: { type: "string", default: "8" },
    seeds: { type: "string", default: "3" },
    threads: { type: "string", default: "1" },
    python: { type: "string", default: "/usr/bin/python3" },
    out: { type: "string", default: "recipe.jsonl" },
  },
});

const side = args.dataset === "fashion-mnist" ? 28 : 32;
const specOf = (seed: number) =>
  parseSpec("pretrain", {
    preset: "cifar",
    dataset:
      args.dataset === "fashion-mnist"
        ? { kind: "fashion-mnist", images: Number(args.images) }
        : { kind: "tar", path: args.dataset, test: args.test, images: Number(args.images) },
    encoder: { width: Number(args.width) },
    batchSize: Number(args.batch),
    epochs: Number(args.epochs),
    augmentation: { size: side },
    monitor: { everyEpochs: 0 },
    seed,
  });

/** Runs a program and returns the last line it printed, parsed; the others are shown. */
async function lastLine(command: string[]): Promise<Outcome> {
  const child = Bun.spawn(command, { stdio: ["ignore", "pipe", "inherit"] });
  const lines = (await new Response(child.stdout).text()).trim().split("\n");
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")} failed`);
  return JSON.parse(lines.at(-1) as string) as Outcome;
}

const done: Outcome[] = existsSync(args.out)
  ? readFileSync(args.out, "utf8")
      .trim()
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Outcome)
  : [];
const isDone = (name: Outcome["side"], seed: number) => done.some((o) => o.side === name && o.seed === seed);
const keep = (outcome: Outcome) => {
  done.push(outcome);
  appendFileSync(args.out, `${JSON.stringify(outcome)}\n`);
};

for (let seed = 0; seed < Number(args.seeds); seed++) {
  const spec = specOf(seed);
  const folder = mkdtempSync(join(tmpdir(), "mocod-recipe-"));
  try {
    if (!isDone("mocod", seed)) {
      const file = join(folder, "spec.json");
      writeFileSync(file, JSON.stringify(spec));
      keep(await lastLine([process.execPath, join(import.meta.dir, "recipe_ours.ts"), file, args.threads]));
    }
    if (!isDone("pytorch", seed)) {
      const dataset = await loadDataset(spec.dataset, { cache: join(tmpdir(), "mocod-datasets"), log: console.error });
      const parts = partition(dataset.train.count, spec.monitor.holdout, spec.dataset.images, seed);
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
      mkdirSync(folder, { recursive: true });
      const test = dataset.test as HeldImages;
      write("train", dataset.train as HeldImages, parts.train);
      write(
        "test",
        test,
        Int32Array.from({ length: test.count }, (_, i) => i),
      );
      const settings = ["seed", "epochs", "width", "batch", "threads"] as const;
      const flags = settings.flatMap((name) => [`--${name}`, name === "seed" ? String(seed) : args[name]]);
      keep(await lastLine([args.python, join(import.meta.dir, "peers/torch_moco.py"), folder, ...flags]));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const spread = (values: number[]) =>
  Math.sqrt(values.reduce((sum, v) => sum + (v - mean(values)) ** 2, 0) / Math.max(1, values.length - 1));
const show = (pick: (o: Outcome) => number, side: Outcome["side"]) => {
  const values = done.filter((o) => o.side === side).map((o) => 100 * pick(o));
  return `${mean(values).toFixed(1)} ± ${spread(values).toFixed(1)} (${values.map((v) => v.toFixed(1)).join(", ")})`;
};
const pixels = done.find((o) => o.pixels !== undefined)?.pixels as number;
console.log(`| | kNN | linear |\n|---|---|---|\n| raw pixels | – | ${(100 * pixels).toFixed(1)} |`);
for (const name of ["pytorch", "mocod"] as const) {
  console.log(
    `| ${name}, untrained | ${show((o) => o.untrained.knn, name)} | ${show((o) => o.untrained.linear, name)} |`,
  );
  console.log(`| ${name}, pretrained | ${show((o) => o.knn, name)} | ${show((o) => o.linear, name)} |`);
}
