/** Commands that work on files and on the store: `views`, `plan`, `data`, `export`, `import`, `store`. */
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { checkDataset } from "../src/data/check.ts";
import { loadDataset } from "../src/data/index.ts";
import type { DataContext } from "../src/data/types.ts";
import { exportCheckpoint } from "../src/exchange/export.ts";
import { importCheckpoint } from "../src/exchange/import.ts";
import { Jobs } from "../src/queue/jobs.ts";
import { connect } from "../src/queue/redis.ts";
import { type DatasetSpec, datasetSpec, withReading } from "../src/schema/dataset.ts";
import { type ExportFormat, type encoderNames, whichEncoder } from "../src/schema/evaluation.ts";
import { fieldErrors, type Job, parseSpec, parseStored, SpecError } from "../src/schema/job.ts";
import { checkStore } from "../src/store/check.ts";
import { datasetCache } from "../src/store/dataset_cache.ts";
import { openBlobs } from "../src/store/open_blobs.ts";
import { RunStore } from "../src/store/run_store.ts";
import { openBucket } from "../src/store/s3_blobs.ts";
import { Uploads } from "../src/store/uploads.ts";
import { contactSheet } from "../src/train/views.ts";
import { CacheFolder } from "../src/util/cache_folder.ts";
import type { Env } from "../src/util/env.ts";
import { messageOf, UserError } from "../src/util/errors.ts";
import { exportPaths } from "./export_paths.ts";
import { printJson } from "./json.ts";
import { describeReport } from "./report.ts";
import { findRedis } from "./services.ts";
import { readSpecFile } from "./spec_file.ts";

export function contextOf(env: Env): DataContext {
  const cache = join(env.dataDir, "datasets");
  const log = (message: string) => console.error(message);
  const { cacheLimit } = env;
  const files = new CacheFolder(cache, cacheLimit, log);
  const stored = datasetCache(new Uploads(openBlobs(env.storeUrl)), { cache: files, log });
  return { cache, cacheLimit, log, stored, bucket: openBucket };
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${what} is not JSON: ${messageOf(error)}`);
  }
}

/** Parses "3", "3,5" or "3-6". */
export function wholeNumbers(text: string): number[] {
  return text.split(",").flatMap((part) => {
    const [, first, last = first] = part.match(/^(\d+)(?:-(\d+))?$/) ?? [];
    if (first === undefined || Number(last) < Number(first))
      throw new UserError(`got "${text}", allowed: 3 or 3,5 or 3-6`);
    return Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i);
  });
}

/** Draws the views of a run into a PNG. */
export async function views(
  env: Env,
  file: string,
  options: { image: string; epoch: string; out: string; json?: boolean },
): Promise<void> {
  const spec = parseSpec("pretrain", await readSpecFile(file));
  const [images, epochs] = [wholeNumbers(options.image), wholeNumbers(options.epoch)];
  const dataset = await loadDataset(spec.dataset, contextOf(env));
  const { png, heldOut } = await contactSheet(dataset, spec, images, epochs);
  writeFileSync(options.out, png);
  if (options.json) return printJson({ file: options.out, images, epochs, heldOut });
  if (heldOut.length > 0) console.error(`held out of pretraining: ${heldOut.join(", ")}`);
  console.log(
    `${options.out}: image, query view, key view; lines: images ${images.join(", ")} at epochs ${epochs.join(", ")}`,
  );
}

/** Parses a dataset: a name, a folder, an archive or the JSON of a dataset spec. */
export function datasetOf(source: string, test: string | undefined): DatasetSpec {
  const named = ["fashion-mnist", "cifar10", "cifar100"].includes(source);
  const given = source.startsWith("{")
    ? parseJson(source, "the dataset")
    : source.startsWith("ds_")
      ? source
      : named
        ? { kind: source }
        : {
            kind: existsSync(source) && statSync(source).isDirectory() ? "folder" : "archive",
            path: source,
            test,
          };
  const parsed = datasetSpec.safeParse(withReading(given));
  if (!parsed.success) throw new SpecError(fieldErrors("dataset", given, parsed.error.issues));
  return parsed.data;
}

/** Checks a dataset. Exits with 1 where a file is broken. */
export async function checkData(env: Env, source: string, options: { test?: string; json?: boolean }): Promise<void> {
  const report = await checkDataset(datasetOf(source, options.test), contextOf(env));
  console.log(options.json ? JSON.stringify(report) : describeReport(report));
  if (report.train.brokenCount + (report.test?.brokenCount ?? 0) > 0) process.exitCode = 1;
}

/** Lists the datasets that are known by name, and whether they are on this machine. */
export function listData(env: Env, options: { json?: boolean }): void {
  const here = (...places: string[]) => places.find((place) => existsSync(place));
  const cache = join(env.dataDir, "datasets");
  const rows: [string, string | undefined, string][] = [
    ["fashion-mnist", here("/usr/share/datasets/fashion-mnist", join(cache, "fashion-mnist")), "70,000 grey, 28x28"],
    ["cifar10", here(join(cache, "cifar-10-batches-bin")), "60,000 RGB, 32x32, 10 classes"],
    ["cifar100", here(join(cache, "cifar-100-binary")), "60,000 RGB, 32x32, 100 classes"],
  ];
  if (options.json) {
    printJson(rows.map(([name, place, what]) => ({ name, images: what, place: place ?? null })));
    return;
  }
  for (const [name, place, what] of rows)
    console.log(`${name.padEnd(14)} ${what.padEnd(32)} ${place ?? "is downloaded when it is used"}`);
  console.log('folder         any images, class = folder         {"kind":"folder","path":"…"}');
  console.log('bucket         a prefix of a bucket               {"kind":"bucket","path":"s3://images/cells/"}');
  console.log('archive        tar, tar.gz, tar.zst, zip          {"kind":"archive","path":"shard-{000..041}.tar"}');
}

/** Exports the encoder of a checkpoint to a file, or several. */
export async function exportRun(
  env: Env,
  id: string,
  options: {
    format: ExportFormat;
    encoder: (typeof encoderNames)[number];
    step?: string;
    out?: string;
    json?: boolean;
  },
): Promise<void> {
  const run = new RunStore(openBlobs(env.storeUrl), id);
  const job = await run.readJson<Job>("job.json");
  if (!job) throw new UserError(`there is no run ${id} in ${env.storeUrl}`);
  const spec = parseStored("pretrain", job.spec);
  const at = options.step === undefined ? undefined : wholeNumbers(options.step)[0];
  const found = await run.goodCheckpoint(at === undefined ? "last" : { step: at }, (message) => console.error(message));
  if (!found) throw new UserError(`run ${id} has no checkpoint${at === undefined ? " yet" : ` of step ${at}`}`);
  const { file, step } = found.record;
  const encoder = whichEncoder(options.encoder);
  const { format } = options;
  const made = exportCheckpoint(found.bytes, file, spec, format, encoder);
  const files = exportPaths(
    id,
    made.map(({ suffix }) => suffix),
    options.out,
  );
  made.forEach(({ bytes }, i) => {
    writeFileSync(files[i] as string, bytes);
  });
  if (options.json) return printJson({ file: files[0], files, format, encoder, step, bytes: made[0].bytes.length });
  made.forEach(({ bytes }, i) => {
    console.log(`${files[i]}: ${format}, ${encoder} encoder after step ${step}, ${bytes.length} bytes`);
  });
}

/** Imports somebody else's checkpoint or weights as a finished run, so that it can be evaluated, forked and exported. */
export async function importRun(
  env: Env,
  file: string,
  options: {
    dataset: string;
    test?: string;
    size: string;
    heads?: string;
    interpolate?: boolean;
    name?: string;
    json?: boolean;
  },
): Promise<void> {
  if (!existsSync(file)) throw new UserError(`${file}: is not there`);
  const side = Number(options.size);
  const { spec, epochs, checkpoint } = importCheckpoint(new Uint8Array(readFileSync(file)), file, {
    fields: { dataset: datasetOf(options.dataset, options.test), augmentation: { size: side } },
    side,
    heads: options.heads === undefined ? undefined : wholeNumbers(options.heads)[0],
    interpolate: options.interpolate,
  });
  await withJobs(env, async (jobs) => {
    const job = await jobs.submissions.adopt(options.name ?? basename(file), spec, epochs, (run) =>
      run.writeCheckpoint({ step: 0, epoch: null, knn: null }, checkpoint, spec.checkpoint),
    );
    if (options.json) printJson(job);
    else console.log(job.id);
  });
}

/** Runs `work` on the jobs of the configured Redis and store. */
async function withJobs(env: Env, work: (jobs: Jobs) => Promise<void>): Promise<void> {
  const redis = connect(findRedis(env));
  const jobs = new Jobs(redis, openBlobs(env.storeUrl), (message) => console.error(message), env.redisJobs);
  try {
    await work(jobs);
  } finally {
    await jobs.close();
    redis.disconnect();
  }
}

/** Verifies every file of every run. Exits with 1 where one is damaged. */
export async function checkRuns(env: Env, options: { json?: boolean }): Promise<void> {
  const report = await checkStore(openBlobs(env.storeUrl));
  if (options.json) printJson(report);
  else {
    for (const { run, file, problem } of report.damaged) console.log(`${run}/${file}: ${problem}`);
    console.log(`${env.storeUrl}: ${report.runs} runs, ${report.files} files, ${report.damaged.length} damaged`);
  }
  if (report.damaged.length > 0) process.exitCode = 1;
}

/** Restores in Redis the jobs that only the store has. */
export async function rebuildJobs(env: Env, options: { json?: boolean }): Promise<void> {
  await withJobs(env, async (jobs) => {
    const count = await jobs.housekeeping.rebuild();
    if (options.json) printJson({ jobs: count });
    else console.log(`${count} jobs of ${env.storeUrl} are in Redis again`);
  });
}
