/**
 * Settings of the `small` presets, by kNN on training images that are held out of pretraining; no test image is read. One
 * candidate is a method and the fields that differ from its preset, a line of JSON; a finished one is a line of the output
 * file, so an interrupted search continues where it was.
 *
 *     bun bench/search.ts --out search.jsonl '{"method":"byol","batchSize":64,"optimizer":{"lr":0.03}}' ...
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
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
    const outcome = await pretrain(
      { ...spec, monitor },
      new RunStore(new LocalBlobs(folder), "run_search"),
      { threads: Number(args.threads), device: "wasm" },
      silent,
    );
    if (!("result" in outcome)) throw new Error("stopped");
    const { knn, untrainedKnn: untrained, loss, seconds } = outcome.result;
    return { candidate, seed: spec.seed, untrained, knn, loss, seconds };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (args.one) {
  console.log(JSON.stringify(await run(args.one)));
  process.exit(0);
}

const done = new Lines<Outcome>(args.out);
const percent = (share: number | null) => (share === null ? "–" : (100 * share).toFixed(1));
console.log("| candidate | kNN before | after | loss | s |\n|---|---|---|---|---|");
for (const candidate of candidates) {
  let outcome = done.all.find((o) => o.candidate === candidate && o.seed === Number(args.seed));
  if (!outcome) {
    const flags = Object.entries(args).flatMap(([name, value]) => [`--${name}`, String(value)]);
    outcome = await lastLine<Outcome>([process.execPath, import.meta.path, ...flags, "--one", candidate]);
    done.add(outcome);
  }
  const { untrained, knn, loss, seconds } = outcome;
  console.log(
    `| ${candidate} | ${percent(untrained)} | ${percent(knn)} | ${loss.toFixed(3)} | ${seconds.toFixed(0)} |`,
  );
}
