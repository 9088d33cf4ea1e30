/**
 * What bench/carry.ts --cifar packs: the authors' CIFAR demo on the machine that it is carried to. Started again it goes on from its
 * last checkpoint, with the same bits.
 *
 *     run.sh [--minutes 9] [--bring folder [--state]] [--from folder] [--every 50]
 *
 * --minutes: the whole call; training ends before that, with a checkpoint. --out: of the run, kept between calls. --bring: what is to be
 * carried back, in pieces of --piece MB: metrics.jsonl, curve.csv, run.json, the query encoder (45 MB); with --state the whole
 * checkpoint as well (136 MB). --from: such a folder, where --out has nothing. --device wasm, --width, --batch, --images and --epochs are for trying it.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { sha256 } from "../../src/store/files.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { type CheckpointRecord, RunStore } from "../../src/store/run_store.ts";
import { decodeSafetensors, encodeSafetensors } from "../../src/store/safetensors.ts";
import { pretrain } from "../../src/train/pretrain.ts";
import type { Reporter } from "../../src/train/reporter.ts";
import { openSession } from "../../src/train/session.ts";
import { Lines } from "../seeds.ts";
import { binaryFiles } from "./batches.ts";
import { curveOf, measureKept } from "./curve.ts";
import { demoSpec } from "./demo.ts";
import { readPieces, writePieces } from "./pieces.ts";

const startedAt = performance.now();
const { values } = parseArgs({
  options: {
    data: { type: "string" },
    out: { type: "string", default: "run" },
    minutes: { type: "string", default: "9" },
    bring: { type: "string" },
    state: { type: "boolean", default: false },
    from: { type: "string" },
    piece: { type: "string", default: "16" },
    every: { type: "string", default: "50" },
    device: { type: "string", default: "webgpu" },
    threads: { type: "string", default: String(availableParallelism()) },
    epochs: { type: "string", default: "200" },
    batch: { type: "string", default: "512" },
    width: { type: "string", default: "64" },
    images: { type: "string" },
  },
});
if (!values.data) throw new Error("--data: the folder with train.tar and test.tar");
const limit = Number(values.minutes) * 60;
/** For the measurements and files at the end. */
const RESERVE = Math.min(40, limit / 10);
const seconds = () => (performance.now() - startedAt) / 1000;

const out = resolve(values.out);
mkdirSync(out, { recursive: true });
const log = (message: string) => console.error(`${seconds().toFixed(0).padStart(4)} s  ${message}`);
const spec = demoSpec({
  path: await binaryFiles(values.data, out, log),
  device: values.device,
  epochs: Number(values.epochs),
  batch: Number(values.batch),
  width: Number(values.width),
  images: values.images === undefined ? undefined : Number(values.images),
  every: Math.min(Number(values.every), Number(values.epochs)),
});
const run = new RunStore(new LocalBlobs(out), "run_cifar");
const knnFile = join(out, "knn.json");

/** Puts the checkpoint that was carried back into the run. */
async function restore(folder: string): Promise<void> {
  const bytes = readPieces(join(folder, "checkpoint.safetensors"));
  if (!bytes || (await run.checkpoints()).length > 0) return;
  const record = JSON.parse(readFileSync(join(folder, "checkpoint.json"), "utf8")) as CheckpointRecord;
  if (sha256(bytes) !== record.sha256)
    throw new Error(`${folder}: the pieces are not the checkpoint of checkpoint.json`);
  await run.writeCheckpoint(record, bytes, spec.checkpoint);
  await run.writeLines("metrics.jsonl", new Lines<object>(join(folder, "metrics.jsonl")).all);
  if (existsSync(join(folder, "knn.json"))) writeFileSync(knnFile, readFileSync(join(folder, "knn.json")));
}

async function bring(folder: string, facts: object): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const measured = existsSync(knnFile) ? JSON.parse(readFileSync(knnFile, "utf8")) : {};
  writeFileSync(join(folder, "curve.csv"), await curveOf(run, measured));
  writeFileSync(join(folder, "knn.json"), JSON.stringify(measured));
  writeFileSync(join(folder, "metrics.jsonl"), (await run.read("metrics.jsonl")) ?? "");
  writeFileSync(join(folder, "run.json"), `${JSON.stringify({ ...facts, spec }, null, 2)}\n`);
  const last = await run.goodCheckpoint("last", log);
  if (!last) return;
  const { tensors, metadata } = decodeSafetensors(last.bytes, last.record.file);
  const query = new Map([...tensors].filter(([name]) => name.startsWith("module.encoder_q.")));
  writePieces(join(folder, "encoder.safetensors"), encodeSafetensors(query, metadata), Number(values.piece));
  if (!values.state) return;
  writeFileSync(join(folder, "checkpoint.json"), JSON.stringify(last.record));
  writePieces(join(folder, "checkpoint.safetensors"), last.bytes, Number(values.piece));
}

if (values.from) await restore(resolve(values.from));
let told = 0;
const report: Reporter = {
  cache: out,
  log,
  progress: ({ epoch, step, steps, loss, imagesPerSecond }) => {
    if (seconds() - told < 10) return;
    told = seconds();
    log(`epoch ${epoch}, step ${step} of ${steps}, loss ${loss?.toFixed(3)}, ${imagesPerSecond?.toFixed(0)} images/s`);
  },
  stopRequested: () => (seconds() > limit - RESERVE ? "pause" : undefined),
};
const computing = { threads: Number(values.threads), device: values.device === "wasm" ? "wasm" : "webgpu" } as const;
const outcome = await pretrain(spec, run, computing, report);
log("result" in outcome ? "trained to its end" : "stopped by --minutes, with a checkpoint: run it again");
await measureKept(
  run,
  knnFile,
  () => openSession(spec, { ...computing, context: report }),
  () => limit - seconds(),
);
const facts = {
  ended: "result" in outcome,
  seconds: seconds(),
  ...("result" in outcome && { result: outcome.result }),
};
if (values.bring) await bring(resolve(values.bring), facts);
console.log(JSON.stringify(facts));
process.exit(0);
