/** Our side of bench/recipe.ts and bench/methods.ts: pretrains and probes a spec by the real path, prints one line of JSON. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { probe } from "../src/judge/probe.ts";
import { parseSpec } from "../src/schema/job.ts";
import { LocalBlobs } from "../src/store/local_blobs.ts";
import { RunStore } from "../src/store/run_store.ts";
import { pretrain } from "../src/train/pretrain.ts";
import type { Reporter } from "../src/train/reporter.ts";
import { peakBytes } from "./peak_memory.ts";
import { type JudgedHere, silent } from "./seeds.ts";

const [file, threads, blocks = "1"] = process.argv.slice(2) as [string, string, string?];
const spec = parseSpec("pretrain", JSON.parse(readFileSync(file, "utf8")));
const data = mkdtempSync(join(tmpdir(), "mocod-recipe-"));
let epoch = 0;
const report: Reporter = {
  ...silent,
  log: console.error,
  progress: (p) => {
    if (p.epoch > epoch) console.error(JSON.stringify({ epoch, loss: p.loss }));
    epoch = p.epoch;
  },
};
const computing = { threads: Number(threads), device: "wasm" } as const;
try {
  const folder = new RunStore(new LocalBlobs(data), "run_recipe");
  const trained = await pretrain(spec, folder, computing, report);
  const peak = peakBytes();
  const probed = await probe(parseSpec("linear-probe", { from: "run_recipe", lr: 0.1, blocks: Number(blocks) }), {
    pretrained: spec,
    source: folder,
    own: new RunStore(new LocalBlobs(data), "run_probe"),
    computing,
    report,
  });
  if (!("result" in trained && "result" in probed)) throw new Error("the run stopped early");
  const { result } = probed;
  const { untrained, pixels } = result.baselines as NonNullable<typeof result.baselines>;
  const outcome: JudgedHere = {
    side: "mocod",
    seed: spec.seed,
    untrained: { knn: untrained.knn, linear: untrained.top1 },
    knn: result.knn,
    linear: result.top1,
    loss: trained.result.loss,
    seconds: trained.result.seconds,
    pixels: pixels.top1,
    epochs: spec.epochs,
    imagesPerSecond: trained.result.imagesPerSecond,
    peak,
    verdict: trained.result.verdict?.state ?? "",
  };
  console.log(JSON.stringify(outcome));
} finally {
  rmSync(data, { recursive: true, force: true });
}
