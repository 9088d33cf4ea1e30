/**
 * A recipe that learns: the CIFAR demo of facebookresearch/moco by mocod and by PyTorch, on the same images, several
 * seeds each. A finished run is one line of the output file, so an interrupted comparison continues where it was.
 *
 *     bun bench/recipe.ts --dataset fashion-mnist --epochs 8 --out fashion.jsonl
 *     bun bench/recipe.ts --dataset train.tar --test test.tar --epochs 8 --out cifar.jsonl
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseSpec } from "../src/schema/job.ts";
import { type Judged, type JudgedHere, judgedHere, Lines, lastLine, percents, writeImages } from "./seeds.ts";

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

const done = new Lines<Judged | JudgedHere>(args.out);
const isDone = (name: Judged["side"], seed: number) => done.all.some((o) => o.side === name && o.seed === seed);

for (let seed = 0; seed < Number(args.seeds); seed++) {
  const spec = specOf(seed);
  const folder = mkdtempSync(join(tmpdir(), "mocod-recipe-"));
  try {
    if (!isDone("mocod", seed)) done.add(await judgedHere(spec, folder, args.threads));
    if (!isDone("pytorch", seed)) {
      await writeImages(spec, folder);
      const settings = ["seed", "epochs", "width", "batch", "threads"] as const;
      const flags = settings.flatMap((name) => [`--${name}`, name === "seed" ? String(seed) : args[name]]);
      done.add(await lastLine<Judged>([args.python, join(import.meta.dir, "peers/torch_moco.py"), folder, ...flags]));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const show = (pick: (o: Judged) => number, side: Judged["side"]) =>
  percents(done.all.filter((o) => o.side === side).map(pick));
const { pixels } = done.all.find((o) => "pixels" in o) as JudgedHere;
console.log(`| | kNN | linear |\n|---|---|---|\n| raw pixels | – | ${(100 * pixels).toFixed(1)} |`);
for (const name of ["pytorch", "mocod"] as const) {
  console.log(
    `| ${name}, untrained | ${show((o) => o.untrained.knn, name)} | ${show((o) => o.untrained.linear, name)} |`,
  );
  console.log(`| ${name}, pretrained | ${show((o) => o.knn, name)} | ${show((o) => o.linear, name)} |`);
}
