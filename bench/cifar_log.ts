/**
 * What bench/carried/cifar.ts brought back, beside the authors' log of the same demo (`epoch,lr,train_loss,knn_top1`):
 *
 *     bun bench/cifar_log.ts --run brought --log moco_cifar10_curve.csv
 *     bun bench/cifar_log.ts --run brought --log … --data <folder> [--images 10000]    and probes the encoder here
 *
 * --data: the folder with train.tar and test.tar that was packed. Images saved as JPEG are not the originals, of which the log is.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { importCheckpoint } from "../src/exchange/import.ts";
import { probe } from "../src/judge/probe.ts";
import { parseSpec } from "../src/schema/job.ts";
import { LocalBlobs } from "../src/store/local_blobs.ts";
import { RunStore } from "../src/store/run_store.ts";
import { binaryFiles } from "./carried/batches.ts";
import { readPieces } from "./carried/pieces.ts";
import { silent } from "./seeds.ts";

const { values: args } = parseArgs({
  options: {
    run: { type: "string" },
    log: { type: "string" },
    data: { type: "string" },
    images: { type: "string" },
    threads: { type: "string", default: String(availableParallelism()) },
  },
});
if (!args.run || !args.log) throw new Error("--run, the folder that was brought back, and --log, the authors' curve");
const brought = args.run;

interface Epoch {
  readonly loss: number;
  /** Percent; undefined: not measured. */
  readonly knn: number | undefined;
}

function readCurve(file: string): Map<number, Epoch> {
  const [, ...lines] = readFileSync(file, "utf8").trim().split("\n");
  return new Map(
    lines.map((line) => {
      const [epoch, , loss, knn] = line.split(",") as [string, string, string, string];
      return [Number(epoch), { loss: Number(loss), knn: knn === "" ? undefined : Number(knn) }];
    }),
  );
}

const [ours, theirs] = [readCurve(join(brought, "curve.csv")), readCurve(args.log)];
const shown = [...ours].filter(([epoch, { knn }]) => knn !== undefined || [1, 2, 3, 5, 10, 20].includes(epoch));
console.log("| epoch | loss | the authors' | kNN | the authors' |\n|---|---|---|---|---|");
for (const [epoch, { loss, knn }] of shown) {
  const log = theirs.get(epoch);
  const cells = [loss.toFixed(3), log?.loss.toFixed(3), knn?.toFixed(2), log?.knn?.toFixed(2)];
  console.log(`| ${epoch} | ${cells.map((cell) => cell ?? "–").join(" | ")} |`);
}

/** Linear probe, and kNN by the backbone's features, of the test images. */
async function probeHere(data: string, folder: string): Promise<void> {
  const file = "encoder.safetensors";
  const bytes = readPieces(join(brought, file));
  if (!bytes) throw new Error(`${brought}: holds no pieces of ${file}`);
  const images = args.images === undefined ? {} : { images: Number(args.images) };
  const dataset = { kind: "cifar10", path: await binaryFiles(data, folder, console.error), ...images };
  const fields = { dataset, augmentation: { size: 32 } };
  const given = { fields, side: 32, heads: undefined, interpolate: undefined };
  const { spec, checkpoint } = importCheckpoint(bytes, file, given);
  const blobs = new LocalBlobs(folder);
  const source = new RunStore(blobs, "run_brought");
  await source.writeCheckpoint({ step: 0, epoch: null, knn: null }, checkpoint, spec.checkpoint);
  const outcome = await probe(parseSpec("linear-probe", { from: "run_brought", lr: 0.1 }), {
    pretrained: spec,
    source,
    own: new RunStore(blobs, "run_probe"),
    computing: { threads: Number(args.threads), device: "wasm" },
    report: { ...silent, log: console.error },
  });
  if (!("result" in outcome)) throw new Error("the probe stopped early");
  const { top1, knn, baselines } = outcome.result;
  const percent = (value: number | undefined) => (value === undefined ? "–" : (100 * value).toFixed(2));
  console.log("\n| probed here | kNN | linear |\n|---|---|---|");
  console.log(`| raw pixels | – | ${percent(baselines?.pixels.top1)} |`);
  console.log(`| untrained | ${percent(baselines?.untrained.knn)} | ${percent(baselines?.untrained.top1)} |`);
  console.log(`| brought back | ${percent(knn)} | ${percent(top1)} |`);
}

if (args.data) {
  const folder = mkdtempSync(join(tmpdir(), "mocod-cifar-"));
  try {
    await probeHere(args.data, folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
process.exit(0);
