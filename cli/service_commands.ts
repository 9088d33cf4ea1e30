/** Commands that run and maintain the service. */
import { type Command, Option } from "commander";
import { startApi } from "../api/server.ts";
import { scopes } from "../src/store/api_keys.ts";
import { createLogger } from "../src/util/logger.ts";
import { startTelemetry } from "../src/util/telemetry.ts";
import { startWorker } from "../workers/worker.ts";
import { addCommand, clientOf } from "./command.ts";
import { demo } from "./demo.ts";
import { listWorkers } from "./jobs.ts";
import { createKey, listKeys, revokeKey } from "./keys.ts";
import { findRedis, openRedis, untilStopped } from "./services.ts";
import { envOf } from "./settings.ts";
import { checkRuns, rebuildJobs } from "./tools.ts";
import { up } from "./up.ts";

export function addServiceCommands(program: Command): void {
  addCommand(program, {
    name: "serve",
    does: "the API, a worker, and an embedded Redis unless one is given",
    examples: ["serve", "serve --no-worker --redis-url redis://db:6379", "serve --port 9000 --threads 4"],
  })
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

  addCommand(program, {
    name: "worker",
    does: "a worker for the jobs of a running service",
    examples: ["worker --redis-url redis://db:6379 --store s3://lab/mocod", "worker --device wasm --threads 8"],
  }).action(async (options) => {
    const env = envOf(options);
    const stopped = untilStopped();
    const stopTelemetry = startTelemetry("mocod-worker");
    const worker = await startWorker(findRedis(env), env, createLogger("worker"));
    await stopped;
    await worker.stop();
    await stopTelemetry();
  });

  addCommand(program, {
    name: "up",
    does: "the whole service on one machine: the API and several workers, which are restarted when they end",
    examples: ["up", "up --workers 2", "up --workers 2 --threads 8"],
  })
    .option("--workers <n>", "number of workers, which share the threads", "1")
    .action(async (options) => up(envOf(options), Number(options.workers)));

  addCommand(program, {
    name: "demo",
    does: "pretrain and probe on Fashion-MNIST, and print a table of the results",
    examples: ["demo", "demo --fast"],
  })
    .option("--fast", "about a minute")
    .action(async (options) => demo(envOf(options), options.fast === true));

  addCommand(program, {
    name: "workers",
    does: "list the live workers and their jobs",
    examples: ["workers", "workers --json"],
  }).action(async (options) => listWorkers(clientOf(envOf(options)), options));

  const keys = program.command("keys").description("API keys; as soon as there is one, the API requires it");
  addCommand(keys, {
    name: "create",
    does: "create a key; prints it once",
    examples: ["create ci", "create dashboard --scope read"],
  })
    .argument("<name>", "name of the user or the purpose")
    .addOption(new Option("--scope <scope>", "each includes those before it").choices(scopes).default("submit"))
    .action(async (name: string, options) => createKey(envOf(options), name, options));
  addCommand(keys, { name: "list", does: "list the keys, without their secrets", examples: ["list"] }).action(
    async (options) => listKeys(envOf(options), options),
  );
  addCommand(keys, {
    name: "revoke",
    does: "revoke a key, within seconds",
    examples: ["revoke 3f9a61c2d8b04e57"],
  })
    .argument("<id>")
    .action(async (id: string, options) => revokeKey(envOf(options), id, options));

  const store = program.command("store").description("the store, which has every run");
  addCommand(store, {
    name: "check",
    does: "verify every file of every run",
    examples: ["check", "check --store s3://lab/mocod --json"],
  }).action(async (options) => checkRuns(envOf(options), options));
  addCommand(store, {
    name: "rebuild",
    does: "restore in Redis the jobs that only the store has",
    examples: ["rebuild"],
  }).action(async (options) => rebuildJobs(envOf(options), options));
}
