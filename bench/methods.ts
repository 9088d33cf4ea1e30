/**
 * All methods on the same images, with an equal number of encoded images: kNN and linear probe beside the untrained encoder and
 * raw pixels, images a second, peak memory; and the same runs of SimCLR and BYOL by PyTorch. A finished run is one line of
 * the output file, so an interrupted comparison continues where it was.
 *
 *     bun bench/methods.ts --out fashion.jsonl
 *     bun bench/methods.ts --dataset train.tar --test test.tar --out cifar.jsonl
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { isVit } from "../src/schema/encoder.ts";
import { methodNames, type PretrainSpec } from "../src/schema/pretrain.ts";
import { comparedSpec } from "./methods_spec.ts";
import { type Judged, type JudgedHere, judgedHere, Lines, lastLine, mean, percents, writeImages } from "./seeds.ts";

const { values: args } = parseArgs({
  options: {
    dataset: { type: "string", default: "fashion-mnist" },
    test: { type: "string" },
    images: { type: "string", default: "10000" },
    budget: { type: "string", default: "8" },
    seeds: { type: "string", default: "3" },
    threads: { type: "string", default: "2" },
    /** As `small`, MoCo v1 is v2. */
    methods: { type: "string", default: methodNames.filter((name) => name !== "moco-v1").join() },
    /** Methods that PyTorch trains as well; empty: none. */
    peers: { type: "string", default: "simclr,byol" },
    /** Of a ViT: features of so many of its last blocks. */
    blocks: { type: "string", default: "1" },
    python: { type: "string", default: "/usr/bin/python3" },
    out: { type: "string", default: "methods.jsonl" },
  },
});
const comparison = {
  dataset: args.dataset,
  test: args.test,
  images: Number(args.images),
  budget: Number(args.budget),
};
const methods = args.methods.split(",");
const peers = args.peers.split(",").filter(Boolean);

type Run = (Judged | JudgedHere) & { readonly method: string };
const done = new Lines<Run>(args.out);

/** The flags of peers/torch_ssl.py that say what a spec says. */
function flagsOf(spec: PretrainSpec): string[] {
  const { method, seed, epochs, encoder, batchSize, norm, optimizer, augmentation } = spec;
  const own = spec as {
    hidden?: number;
    dim?: number;
    temperature?: number;
    momentum?: number;
    secondView?: { blur: number };
  };
  const flags = {
    method,
    seed,
    epochs,
    arch: isVit(encoder) ? "vit" : encoder.arch,
    width: encoder.width,
    ...(isVit(encoder) && {
      patch: encoder.patch,
      depth: encoder.depth,
      heads: encoder.heads,
      pool: encoder.pool,
      frozen: Number(encoder.freezePatches),
    }),
    batch: batchSize,
    norm,
    lr: optimizer.lr,
    decay: optimizer.weightDecay,
    warmup: optimizer.warmup,
    crop: augmentation.cropScale[0],
    flip: augmentation.flip,
    blur: augmentation.blur,
    blur2: own.secondView?.blur,
    jitter: augmentation.jitter.brightness / 0.4,
    hidden: own.hidden,
    dim: own.dim,
    temperature: own.temperature,
    momentum: own.momentum,
    threads: args.threads,
    blocks: isVit(encoder) ? args.blocks : undefined,
  };
  return Object.entries(flags).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, String(value)]));
}

async function measure(side: Judged["side"], method: string, seed: number): Promise<void> {
  if (done.all.some((o) => o.side === side && o.method === method && o.seed === seed)) return;
  const spec = comparedSpec(comparison, method, seed);
  const folder = mkdtempSync(join(tmpdir(), "mocod-methods-"));
  try {
    if (side === "mocod") done.add({ method, ...(await judgedHere(spec, folder, args.threads, args.blocks)) });
    else {
      await writeImages(spec, folder);
      const script = join(import.meta.dir, "peers/torch_ssl.py");
      done.add({ method, ...(await lastLine<Judged>([args.python, script, folder, ...flagsOf(spec)])) });
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

for (let seed = 0; seed < Number(args.seeds); seed++) {
  for (const method of methods) {
    await measure("mocod", method, seed);
    if (peers.includes(method)) await measure("pytorch", method, seed);
  }
}

const row = (name: string, of: readonly Run[], more: string, pick: (o: Run) => Pick<Judged, "knn" | "linear">) =>
  console.log(
    `| ${name} | ${percents(of.map((o) => pick(o).knn))} | ${percents(of.map((o) => pick(o).linear))} | ${more} |`,
  );
const of = (side: Judged["side"], method: string) => done.all.filter((o) => o.side === side && o.method === method);
const here = (method: string) => of("mocod", method) as (Run & JudgedHere)[];
const first = here(methods[0] as string);
console.log("| | kNN | linear probe | images/s | peak, MB | epochs |\n|---|---|---|---|---|---|");
console.log(`| raw pixels | – | ${percents(first.map((o) => o.pixels))} | | | |`);
row("untrained", first, "| |", (o) => o.untrained);
for (const method of methods) {
  const runs = here(method);
  const pace = mean(runs.map((o) => o.imagesPerSecond)).toFixed(0);
  const peak = (mean(runs.map((o) => o.peak)) / 1e6).toFixed(0);
  row(method, runs, `${pace} | ${peak} | ${runs[0]?.epochs}`, (o) => o);
  if (!peers.includes(method)) continue;
  const theirs = of("pytorch", method);
  const theirPace = mean(theirs.map((o) => (comparison.images * (runs[0]?.epochs ?? 0)) / o.seconds)).toFixed(0);
  row(`${method}, PyTorch untrained`, theirs, "| |", (o) => o.untrained);
  row(`${method}, PyTorch`, theirs, `${theirPace} | |`, (o) => o);
}
