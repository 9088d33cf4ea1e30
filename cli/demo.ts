/** The demo: the whole path on real images, HTTP -> BullMQ on Redis -> worker -> WASM -> checkpoint -> linear probe. */
import { startApi } from "../api/server.ts";
import type { ProbeJobResult } from "../src/judge/probe.ts";
import type { Job, JobType } from "../src/schema/job.ts";
import type { PretrainResult } from "../src/train/pretrain.ts";
import type { Env } from "../src/util/env.ts";
import { UserError } from "../src/util/errors.ts";
import { createLogger } from "../src/util/logger.ts";
import { progressBar } from "./bar.ts";
import { Client } from "./client.ts";
import { openRedis, spawnWorker, untilStopped } from "./services.ts";

/** Chosen on held-out training images, never on the test images; docs/decisions.md describes the search. */
const augmentation = { cropScale: [0.4, 1], flip: 0, blur: 0.5 };
const recipes = {
  full: { preset: "small", dataset: { kind: "fashion-mnist", images: 20_000 }, epochs: 7, augmentation },
  fast: { preset: "small", dataset: { kind: "fashion-mnist", images: 4_000 }, epochs: 2, augmentation },
};

/** Runs the demo; `fast` takes about a minute. */
export async function demo(env: Env, fast: boolean): Promise<void> {
  const startedAt = performance.now();
  const log = createLogger("demo");
  log.level = process.env.MOCOD_LOG ?? "warn";
  const stopped = untilStopped().then(() => "stopped" as const);
  const redis = await openRedis(env);
  const api = await startApi(redis.url, { ...env, port: env.port }, log);
  const worker = spawnWorker({ REDIS_URL: redis.url, MOCOD_DATA_DIR: env.dataDir, MOCOD_LOG: log.level });
  const client = new Client(api.url, env.apiKey);
  const submitted: Job[] = [];
  try {
    const finished = story(client, submitted, fast ? recipes.fast : recipes.full, startedAt);
    const outcome = await Promise.race([finished, stopped, worker.exited.then(() => "worker died" as const)]);
    if (outcome === "worker died") throw new UserError("the worker ended unexpectedly, see above");
    if (outcome !== "stopped") {
      console.log(nextSteps(api.url));
      if (process.stdout.isTTY) {
        console.log("The API and the worker run until Ctrl-C.");
        await stopped;
      }
    }
  } finally {
    worker.kill("SIGTERM");
    await worker.exited;
    // The jobs of a stopped demo are cancelled, so that the next one does not start with them.
    for (const job of submitted) if (!(await client.job(job.id)).finishedAt) await client.cancel(job.id);
    await api.stop();
    await redis.stop();
  }
}

async function follow(client: Client, job: Job): Promise<Job> {
  const bar = progressBar();
  const ended = await client.follow(job.id, (p) => bar.update(p));
  bar.stop();
  if (ended.status !== "succeeded")
    throw new UserError(`${ended.type} ${ended.id} ${ended.status}: ${ended.error ?? ""}`);
  return ended;
}

async function story(client: Client, submitted: Job[], recipe: object, startedAt: number): Promise<void> {
  console.log(`API at ${client.url}; submitting a pretrain job: MoCo v2 on Fashion-MNIST, no labels used`);
  const submit = async (type: JobType, spec: object): Promise<Job> => {
    const job = await client.submit(type, spec, "demo");
    submitted.push(job);
    return follow(client, job);
  };
  const pretrained = await submit("pretrain", recipe);
  const training = pretrained.result as PretrainResult;
  console.log(`pretrained in ${Math.round(training.seconds)} s; submitting a linear-probe job on ${pretrained.id}`);
  const probed = await submit("linear-probe", { from: pretrained.id, lr: 0.1 });
  const result = probed.result as ProbeJobResult;
  const percent = (v: number | undefined) => (v === undefined ? "    –" : `${(100 * v).toFixed(1)}`.padStart(5));
  const row = (name: string, knn: number | undefined, linear: number | undefined) =>
    `  ${name.padEnd(22)} ${percent(knn)}   ${percent(linear)}`;
  console.log(
    [
      "",
      `  ${result.testImages} test images            kNN   linear   (top-1, %)`,
      row("raw pixels", undefined, result.baselines?.pixels.top1),
      row("untrained encoder", result.baselines?.untrained.knn, result.baselines?.untrained.top1),
      row("pretrained encoder", result.knn, result.top1),
      "",
      `  ${training.device}, ${training.threads} threads, ${Math.round(training.imagesPerSecond)} images/s, ` +
        `pretraining ${Math.round(training.seconds)} s, everything ${Math.round((performance.now() - startedAt) / 1000)} s`,
      "",
    ].join("\n"),
  );
}

function nextSteps(url: string): string {
  const spec = '{"type":"pretrain","spec":{"dataset":{"kind":"folder","path":"/your/images","size":32}}}';
  return [
    "A job of your own (start the service again with `npm run mocod serve`):",
    `  curl -X POST ${url}/v1/jobs -H 'content-type: application/json' \\`,
    `    -d '${spec}'`,
    `  curl ${url}/v1/jobs            # all jobs`,
    `  curl ${url}/openapi.json       # everything the API can do`,
  ].join("\n");
}
