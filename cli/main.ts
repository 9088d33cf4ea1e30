#!/usr/bin/env bun
import { Command, Option } from "commander";
import { startApi } from "../api/server.ts";
import type { JobType } from "../src/spec/job.ts";
import { jobTypes } from "../src/spec/job.ts";
import { type Env, readEnv } from "../src/util/env.ts";
import { UserError } from "../src/util/errors.ts";
import { createLogger } from "../src/util/logger.ts";
import { startWorker } from "../workers/worker.ts";
import { progressBar } from "./bar.ts";
import { Client } from "./client.ts";
import { demo } from "./demo.ts";
import { findRedis, openRedis, untilStopped } from "./services.ts";

process.env.MSGPACKR_NATIVE_ACCELERATION_DISABLED = "true";

const program = new Command("mocod").description("Self-supervised pretraining as a service.");

/** Flags of the same meaning as the variables; a flag wins. */
const settings: [flag: string, variable: string, help: string][] = [
  ["--redis-url <url>", "REDIS_URL", "Redis to use; without it an embedded one"],
  ["--data-dir <folder>", "MOCOD_DATA_DIR", "runs, datasets and the embedded Redis (.mocod)"],
  ["--host <host>", "MOCOD_HOST", "address of the API (127.0.0.1)"],
  ["--port <port>", "MOCOD_PORT", "port of the API, 0 for any (8787)"],
  ["--threads <n>", "MOCOD_THREADS", "threads that train (all cores)"],
  ["--device <name>", "MOCOD_DEVICE", "device that trains (wasm)"],
];

function command(name: string, description: string): Command {
  const made = program.command(name).description(description);
  for (const [flag, , help] of settings) made.addOption(new Option(flag, help));
  return made;
}

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
    const redis = await openRedis(env);
    const api = await startApi(redis.url, env, log);
    const worker = options.worker ? await startWorker(redis.url, env, log) : undefined;
    await stopped;
    await worker?.stop();
    await api.stop();
    await redis.stop();
  });

command("worker", "a worker for the jobs of a running service").action(async (options) => {
  const env = envOf(options);
  const stopped = untilStopped();
  const worker = await startWorker(findRedis(env), env, createLogger("worker"));
  await stopped;
  await worker.stop();
});

const clientOf = (env: Env) => new Client(`http://${env.host}:${env.port}`);

command("submit", "submit a job; the spec is a JSON file, - for stdin")
  .argument("<type>", jobTypes.join(" or "))
  .argument("<spec>", "file")
  .action(async (type: string, file: string, options) => {
    const text = file === "-" ? await Bun.stdin.text() : await Bun.file(file).text();
    console.log((await clientOf(envOf(options)).submit(type as JobType, JSON.parse(text))).id);
  });

command("watch", "follow a job to its end")
  .argument("<id>")
  .action(async (id: string, options) => {
    const bar = progressBar();
    const job = await clientOf(envOf(options)).follow(id, (p) => bar.update(p));
    bar.stop();
    console.log(JSON.stringify({ status: job.status, error: job.error, result: job.result }, null, 2));
    if (job.status !== "succeeded") process.exitCode = 1;
  });

command("demo", "pretrain and probe on Fashion-MNIST, from nothing to the table")
  .option("--fast", "about a minute")
  .action(async (options) => demo(envOf(options), options.fast === true));

try {
  await program.parseAsync();
  process.exit(process.exitCode ?? 0);
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  console.error(error.message);
  process.exit(1);
}
