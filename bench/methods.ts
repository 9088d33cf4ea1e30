/**
 * All methods on the same images, with an equal number of encoded images: kNN and linear probe beside the untrained encoder and
 * raw pixels, images a second, peak memory. A finished run is one line of the output file, so an interrupted comparison
 * continues where it was.
 *
 *     bun bench/methods.ts --out fashion.jsonl
 *     bun bench/methods.ts --dataset train.tar --test test.tar --out cifar.jsonl
 */
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { directionsOf } from "../src/engine/units.ts";
import { probe } from "../src/judge/probe.ts";
import { methodOf } from "../src/methods/index.ts";
import { parseSpec } from "../src/schema/job.ts";
import { methodNames, type PretrainSpec } from "../src/schema/pretrain.ts";
import { LocalBlobs } from "../src/store/local_blobs.ts";
import { RunStore } from "../src/store/run_store.ts";
import { pretrain } from "../src/train/pretrain.ts";
import type { Reporter } from "../src/train/reporter.ts";

interface Outcome {
  readonly method: string;
  readonly seed: number;
  readonly knn: number;
  readonly linear: number;
  readonly untrained: { readonly knn: number; readonly linear: number };
  readonly pixels: number;
  readonly imagesPerSecond: number;
  /** Bytes of the whole process, as the kernel saw it. */
  readonly peak: number;
  readonly epochs: number;
  readonly verdict: string;
}

const { values: args } = parseArgs({
  options: {
    dataset: { type: "string", default: "fashion-mnist" },
    test: { type: "string" },
    images: { type: "string", default: "10000" },
    /** Encoded images for each image of the dataset: MoCo encodes two a step, BYOL four. */
    budget: { type: "string", default: "16" },
    seeds: { type: "string", default: "3" },
    threads: { type: "string", default: "2" },
    methods: { type: "string", default: methodNames.filter((name) => name !== "moco-v1").join() },
    set: { type: "string", default: "{}" },
    out: { type: "string", default: "methods.jsonl" },
    one: { type: "string" },
  },
});

const isFashion = args.dataset === "fashion-mnist";

function specOf(method: string, seed: number): PretrainSpec {
  const spec = parseSpec("pretrain", {
    method,
    preset: "small",
    dataset: isFashion
      ? { kind: "fashion-mnist", images: Number(args.images) }
      : { kind: "tar", path: args.dataset, test: args.test, images: Number(args.images) },
    augmentation: { size: isFashion ? 28 : 32, ...(isFashion ? { flip: 0, cropScale: [0.4, 1], blur: 0.5 } : {}) },
    ...(isFashion && method !== "moco-v2" ? { secondView: { blur: 0.5, solarise: 0 } } : {}),
    monitor: { everyEpochs: 0 },
    seed,
    ...(JSON.parse(args.set) as object),
  });
  const encoded = directionsOf(spec) * (methodOf(spec).targets ? 2 : 1);
  return { ...spec, epochs: Math.max(1, Math.round(Number(args.budget) / encoded)) };
}

/** Pretrains and probes by the real path. */
async function run(method: string, seed: number): Promise<Outcome> {
  const spec = specOf(method, seed);
  const folder = mkdtempSync(join(tmpdir(), "mocod-methods-"));
  const report: Reporter = {
    cache: join(tmpdir(), "mocod-datasets"),
    log: () => undefined,
    progress: () => undefined,
    stopRequested: () => undefined,
  };
  const computing = { threads: Number(args.threads), device: "wasm" } as const;
  try {
    const store = new RunStore(new LocalBlobs(folder), "run_methods");
    const trained = await pretrain(spec, store, computing, report);
    const peak = Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024;
    const probed = await probe(parseSpec("linear-probe", { from: "run_methods", lr: 0.1 }), {
      pretrained: spec,
      source: store,
      own: new RunStore(new LocalBlobs(folder), "run_probe"),
      computing,
      report,
    });
    if (!("result" in trained && "result" in probed)) throw new Error("stopped");
    const { baselines, knn, top1 } = probed.result;
    if (!baselines) throw new Error("the probe has no baselines");
    const { untrained, pixels } = baselines;
    return {
      method,
      seed,
      knn,
      linear: top1,
      untrained: { knn: untrained.knn, linear: untrained.top1 },
      pixels: pixels.top1,
      imagesPerSecond: trained.result.imagesPerSecond,
      peak,
      epochs: spec.epochs,
      verdict: trained.result.verdict?.state ?? "",
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (args.one) {
  const { method, seed } = JSON.parse(args.one) as { method: string; seed: number };
  console.log(JSON.stringify(await run(method, seed)));
  process.exit(0);
}

const done: Outcome[] = existsSync(args.out)
  ? readFileSync(args.out, "utf8")
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Outcome)
  : [];
const methods = args.methods.split(",");
for (let seed = 0; seed < Number(args.seeds); seed++) {
  for (const method of methods) {
    if (done.some((o) => o.method === method && o.seed === seed)) continue;
    const child = Bun.spawn(
      [process.execPath, import.meta.path, ...process.argv.slice(2), "--one", JSON.stringify({ method, seed })],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const text = await new Response(child.stdout).text();
    if ((await child.exited) !== 0) throw new Error(`${method}, seed ${seed} failed`);
    const outcome = JSON.parse(text.trim().split("\n").at(-1) as string) as Outcome;
    done.push(outcome);
    appendFileSync(args.out, `${JSON.stringify(outcome)}\n`);
    console.error(
      `${method}, seed ${seed}: kNN ${(100 * outcome.knn).toFixed(1)}, linear ${(100 * outcome.linear).toFixed(1)}`,
    );
  }
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const spread = (values: readonly number[]) =>
  Math.sqrt(values.reduce((sum, v) => sum + (v - mean(values)) ** 2, 0) / Math.max(1, values.length - 1));
const show = (values: readonly number[]) =>
  `${mean(values).toFixed(1)} ± ${spread(values).toFixed(1)} (${values.map((v) => v.toFixed(1)).join(", ")})`;
const percents = (of: readonly Outcome[], pick: (o: Outcome) => number) => show(of.map((o) => 100 * pick(o)));
console.log("| | kNN | linear probe | images/s | peak, MB | epochs |\n|---|---|---|---|---|---|");
console.log(
  `| raw pixels | – | ${percents(
    done.filter((o) => o.method === methods[0]),
    (o) => o.pixels,
  )} | | | |`,
);
for (const method of methods) {
  const of = done.filter((o) => o.method === method);
  if (method === methods[0]) {
    const [knn, linear] = [percents(of, (o) => o.untrained.knn), percents(of, (o) => o.untrained.linear)];
    console.log(`| untrained | ${knn} | ${linear} | | | |`);
  }
  const [pace, peak] = [mean(of.map((o) => o.imagesPerSecond)), mean(of.map((o) => o.peak)) / 1e6];
  console.log(
    `| ${method} | ${percents(of, (o) => o.knn)} | ${percents(of, (o) => o.linear)} | ${pace.toFixed(0)} | ${peak.toFixed(0)} | ${of[0]?.epochs} |`,
  );
}
