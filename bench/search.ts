/**
 * Settings of the `small` presets, by kNN on training images that are held out of pretraining, and by a linear probe on a part of
 * the training images whose labels it does not see; test images decide nothing. One candidate is a method and the fields that
 * differ from its preset, a line of JSON; a finished one is a line of the output file, so an interrupted search continues where
 * it was.
 *
 *     bun bench/search.ts --out search.jsonl '{"method":"byol","batchSize":64,"optimizer":{"lr":0.03}}' ...
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { probe } from "../src/judge/probe.ts";
import { parseSpec } from "../src/schema/job.ts";
import { LocalBlobs } from "../src/store/local_blobs.ts";
import { RunStore } from "../src/store/run_store.ts";
import { pretrain } from "../src/train/pretrain.ts";
import { comparedSpec } from "./methods_spec.ts";
import { Lines, lastLine, silent } from "./seeds.ts";

const { values: args, positionals: candidates } = parseArgs({
  allowPositionals: true,
  options: {
    dataset: { type: "string", default: "fashion-mnist" },
    images: { type: "string", default: "10000" },
    budget: { type: "string", default: "8" },
    holdout: { type: "string", default: "5000" },
    seed: { type: "string", default: "0" },
    threads: { type: "string", default: "2" },
    out: { type: "string", default: "search.jsonl" },
    one: { type: "string" },
  },
});

interface Outcome {
  readonly candidate: string;
  readonly seed: number;
  readonly untrained: number | null;
  readonly knn: number | null;
  /** Top-1 of linear probes on the validation part. */
  readonly linear: number;
  readonly pixels: number;
  readonly loss: number;
  readonly seconds: number;
}

async function run(candidate: string): Promise<Outcome> {
  const { method, ...fields } = JSON.parse(candidate) as { method: string };
  const comparison = { dataset: args.dataset, images: Number(args.images), budget: Number(args.budget) };
  const spec = comparedSpec(comparison, method, Number(args.seed), fields);
  const monitor = {
    ...spec.monitor,
    everyEpochs: spec.epochs,
    bank: Number(args.images),
    holdout: Number(args.holdout),
  };
  const folder = mkdtempSync(join(tmpdir(), "mocod-search-"));
  try {
    const store = (run: string) => new RunStore(new LocalBlobs(folder), run);
    const computing = { threads: Number(args.threads), device: "wasm" } as const;
    const pretrained = { ...spec, monitor };
    const outcome = await pretrain(pretrained, store("run_search"), computing, silent);
    // More than one rate, so that they are judged on a validation part.
    const probed = await probe(parseSpec("linear-probe", { from: "run_search", lr: [0.03, 0.1] }), {
      pretrained,
      source: store("run_search"),
      own: store("run_probe"),
      computing,
      report: silent,
    });
    if (!("result" in outcome && "result" in probed)) throw new Error("stopped");
    const { knn, untrainedKnn: untrained, loss, seconds } = outcome.result;
    const { chosen, baselines } = probed.result;
    const [linear, pixels] = [chosen.validation as number, baselines?.pixels.chosen.validation as number];
    return { candidate, seed: spec.seed, untrained, knn, linear, pixels, loss, seconds };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (args.one) {
  console.log(JSON.stringify(await run(args.one)));
  process.exit(0);
}

const done = new Lines<Outcome>(args.out);
const percent = (share: number | null | undefined) =>
  share === null || share === undefined ? "–" : (100 * share).toFixed(1);
console.log("| candidate | kNN before | after | linear | of pixels | loss | s |\n|---|---|---|---|---|---|---|");
for (const candidate of candidates) {
  let outcome = done.all.find((o) => o.candidate === candidate && o.seed === Number(args.seed));
  if (!outcome) {
    const flags = Object.entries(args).flatMap(([name, value]) => [`--${name}`, String(value)]);
    outcome = await lastLine<Outcome>([process.execPath, import.meta.path, ...flags, "--one", candidate]);
    done.add(outcome);
  }
  const { untrained, knn, linear, pixels, loss, seconds } = outcome;
  console.log(
    `| ${candidate} | ${percent(untrained)} | ${percent(knn)} | ${percent(linear)} | ${percent(pixels)} | ${loss.toFixed(3)} | ${seconds.toFixed(0)} |`,
  );
}
