#!/usr/bin/env bun
import { Command, Option } from "commander";
import { startApi } from "../api/server.ts";
import { exportFormats } from "../src/spec/evaluation.ts";
import type { JobType } from "../src/spec/job.ts";
import { jobTypes, SpecError } from "../src/spec/job.ts";
import { type ActionName, jobStatuses } from "../src/spec/life.ts";
import { scopes } from "../src/store/api_keys.ts";
import { type Env, readEnv } from "../src/util/env.ts";
import { UserError } from "../src/util/errors.ts";
import { createLogger } from "../src/util/logger.ts";
import { startTelemetry } from "../src/util/telemetry.ts";
import { startWorker } from "../workers/worker.ts";
import { progressBar } from "./bar.ts";
import { Client } from "./client.ts";
import { demo } from "./demo.ts";
import { listDevices } from "./devices.ts";
import { listJobs, listWorkers, pull, showLogs } from "./jobs.ts";
import { printJson } from "./json.ts";
import { createKey, listKeys, revokeKey } from "./keys.ts";
import { findRedis, openRedis, untilStopped } from "./services.ts";
import {
  checkData,
  checkRuns,
  exportRun,
  importRun,
  listData,
  planRun,
  readSpecFile,
  rebuildJobs,
  views,
} from "./tools.ts";

process.env.MSGPACKR_NATIVE_ACCELERATION_DISABLED = "true";

const program = new Command("mocod")
  .description("Self-supervised pretraining as a service.")
  .addHelpText(
    "after",
    "\nExit codes: 0 done; 1 what was asked for is not possible, or the job did not succeed; 130 stopped.",
  );

/** Flags of the same meaning as the variables; a flag wins. */
const settings: [flag: string, variable: string, help: string][] = [
  ["--redis-url <url>", "REDIS_URL", "Redis to use; without it an embedded one"],
  ["--data-dir <folder>", "MOCOD_DATA_DIR", "runs, datasets and the embedded Redis (.mocod)"],
  ["--store <url>", "MOCOD_STORE", "where runs live: file:///folder (the data folder) or s3://bucket/prefix"],
  ["--host <host>", "MOCOD_HOST", "address of the API (127.0.0.1)"],
  ["--port <port>", "MOCOD_PORT", "port of the API, 0 for any (8787)"],
  ["--api-key <key>", "MOCOD_API_KEY", "for an API that has keys"],
  ["--threads <n>", "MOCOD_THREADS", "threads that train (all cores)"],
  ["--device <name>", "MOCOD_DEVICE", "auto, webgpu or wasm (auto: a GPU where there is a real one)"],
];

function addSettings(to: Command): Command {
  for (const [flag, , help] of settings) to.addOption(new Option(flag, help));
  return to;
}
const command = (name: string, description: string) => addSettings(program.command(name).description(description));

function envOf(options: Record<string, string | undefined>): Env {
  const given = Object.fromEntries(
    settings.map(([flag, variable]) => [variable, options[new Option(flag).attributeName()] ?? process.env[variable]]),
  );
  return readEnv({ ...process.env, ...given });
}

command("serve", "the API, a worker, and an embedded Redis unless one is given")
  .option("--no-worker", "the API alone")
  .action(async (options) => {
    const env = envOf(options);
    const log = createLogger("mocod");
    const stopped = untilStopped();
    const stopTelemetry = startTelemetry("mocod");
    const redis = await openRedis(env);
    const api = await startApi(redis.url, env, log);
    const worker = options.worker ? await startWorker(redis.url, env, log) : undefined;
    await stopped;
    await worker?.stop();
    await api.stop();
    await stopTelemetry();
    await redis.stop();
  });

command("worker", "a worker for the jobs of a running service").action(async (options) => {
  const env = envOf(options);
  const stopped = untilStopped();
  const stopTelemetry = startTelemetry("mocod-worker");
  const worker = await startWorker(findRedis(env), env, createLogger("worker"));
  await stopped;
  await worker.stop();
  await stopTelemetry();
});

const clientOf = (env: Env) => new Client(`http://${env.host}:${env.port}`, env.apiKey);

command("submit", "submit a job; the spec is a JSON file, - for stdin")
  .argument("<type>", jobTypes.join(", "))
  .argument("<spec>", "file")
  .action(async (type: string, file: string, options) => {
    const job = await clientOf(envOf(options)).submit(type as JobType, await readSpecFile(file));
    for (const warning of job.warnings) console.error(`warning: ${warning}`);
    console.log(job.id);
  });

command("views", "draw the views that a run trains on: a PNG of any images in any epochs")
  .argument("<spec>", "a pretrain spec, JSON; - for stdin")
  .requiredOption("--image <n>", "numbers of the dataset: 17 or 3,5 or 0-7")
  .option("--epoch <n>", "from 0: 3 or 0,100 or 0-4", "0")
  .option("--out <file>", "the PNG", "views.png")
  .action(async (file: string, options) => views(envOf(options), file, options));

command("plan", "what a run will take on this machine, memory and time; trains for some seconds to find out")
  .argument("<spec>", "a pretrain spec, JSON; - for stdin")
  .option("--json", "as JSON")
  .action(async (file: string, options) => planRun(envOf(options), file, options));

command("devices", "what this machine can compute on, each with a self-test of some seconds")
  .option("--no-test", "only list them")
  .option("--json", "as JSON")
  .action(async (options) => listDevices(envOf(options), options));

const data = program.command("data").description("datasets: what there is, and what is in one");
addSettings(data.command("list").description("datasets known by name")).action((options) => listData(envOf(options)));
addSettings(data.command("check").description("counts, classes, sizes, broken files, mean and deviation"))
  .argument("<source>", "fashion-mnist, cifar10, cifar100, a folder, a tar, or a dataset spec as JSON")
  .option("--test <path>", "test images of a folder or tar")
  .option("--json", "as JSON")
  .action(async (source: string, options) => checkData(envOf(options), source, options));

command("export", "write an encoder for PyTorch or ONNX")
  .argument("<id>", "a pretrain job")
  .addOption(
    new Option("--format <name>", "torchvision, moco: safetensors").choices(exportFormats).default("torchvision"),
  )
  .addOption(new Option("--encoder <name>", "which of the two").choices(["query", "key"]).default("query"))
  .option("--step <n>", "of the checkpoint; unset: the newest")
  .option("--out <file>", "unset: named after the run")
  .action((id: string, options) => exportRun(envOf(options), id, options));

command("import", "make a finished run of a checkpoint of facebookresearch/moco; prints its id")
  .argument("<file>", "checkpoint_*.pth.tar, moco_v*_pretrain.pth.tar, or their names in safetensors")
  .requiredOption("--dataset <source>", "images to judge it on: as for `data check`")
  .option("--test <path>", "test images of a folder or tar")
  .option("--size <pixels>", "side of the views that it is given", "224")
  .option("--name <name>", "unset: the file's")
  .action(async (file: string, options) => importRun(envOf(options), file, options));

const asked: Record<ActionName, string> = {
  pause: "stop a job between two steps, to be resumed",
  resume: "let a paused job go on",
  cancel: "end a job between two steps",
  retry: "let a failed or cancelled job go on from its last checkpoint",
};
for (const name of Object.keys(asked) as ActionName[]) {
  command(name, asked[name])
    .argument("<id>")
    .action(async (id: string, options) => console.log((await clientOf(envOf(options)).act(id, name)).status));
}

command("jobs", "list jobs, newest first")
  .option("--status <status>", jobStatuses.join(", "))
  .option("--type <type>", jobTypes.join(", "))
  .option("--name <text>", "part of the name")
  .option("--limit <n>", "at most so many", "20")
  .option("--json", "as JSON")
  .addHelpText("after", "\nExample: mocod jobs --status running")
  .action(async (options) => listJobs(clientOf(envOf(options)), options));

command("show", "everything about a job")
  .argument("<id>")
  .action(async (id: string, options) => printJson(await clientOf(envOf(options)).job(id)));

command("logs", "what was said of a job, and how its status changed")
  .argument("<id>")
  .option("--json", "as JSON")
  .action(async (id: string, options) => showLogs(clientOf(envOf(options)), id, options));

command("pull", "download what a run has left: all of it, or the files named")
  .argument("<id>")
  .argument("[files...]", "as the API lists them: metrics.jsonl, checkpoints/step-….safetensors")
  .option("--out <folder>", "unset: named after the run")
  .addHelpText("after", "\nExample: mocod pull run_… metrics.jsonl result.json")
  .action(async (id: string, files: string[], options) => pull(clientOf(envOf(options)), id, files, options.out ?? id));

command("rm", "delete a job that is over, and everything that it left")
  .argument("<id>")
  .action(async (id: string, options) => clientOf(envOf(options)).remove(id));

command("workers", "the workers that are alive, and what they do")
  .option("--json", "as JSON")
  .action(async (options) => listWorkers(clientOf(envOf(options)), options));

const store = program.command("store").description("the store: every run that there is");
addSettings(store.command("check").description("verify every file of every run"))
  .option("--json", "as JSON")
  .action(async (options) => checkRuns(envOf(options), options));
addSettings(store.command("rebuild").description("re-create in Redis the jobs that only the store knows")).action(
  async (options) => rebuildJobs(envOf(options)),
);

const keys = program.command("keys").description("keys to the API; as soon as there is one, the API asks for it");
addSettings(keys.command("create").description("make a key; prints it once"))
  .argument("<name>", "for whom or what")
  .addOption(new Option("--scope <scope>", "each may do what those before it may").choices(scopes).default("submit"))
  .action(async (name: string, options) => createKey(envOf(options), name, options.scope));
addSettings(keys.command("list").description("all keys, without their secrets"))
  .option("--json", "as JSON")
  .action(async (options) => listKeys(envOf(options), options));
addSettings(keys.command("revoke").description("a key opens nothing any more, within seconds"))
  .argument("<id>")
  .action(async (id: string, options) => revokeKey(envOf(options), id));

command("watch", "follow a job to its end")
  .argument("<id>")
  .action(async (id: string, options) => {
    const bar = progressBar();
    const job = await clientOf(envOf(options)).follow(id, (p) => bar.update(p));
    bar.stop();
    printJson({ status: job.status, error: job.error, result: job.result });
    if (job.status !== "succeeded") process.exitCode = 1;
  });

command("demo", "pretrain and probe on Fashion-MNIST, from nothing to the table")
  .option("--fast", "about a minute")
  .action(async (options) => demo(envOf(options), options.fast === true));

try {
  await program.parseAsync();
  process.exit(process.exitCode ?? 0);
} catch (error) {
  if (!(error instanceof UserError || error instanceof SpecError)) throw error;
  console.error(error.message);
  process.exit(1);
}
