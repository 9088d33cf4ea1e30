/** A Redis, the API and a worker as processes of their own, over a folder that is gone afterwards. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { startApi } from "../../api/server.ts";
import { Client } from "../../cli/client.ts";
import { startEmbeddedRedis } from "../../src/queue/redis.ts";
import type { Job } from "../../src/schema/job.ts";
import { readEnv } from "../../src/util/env.ts";
import { createLogger } from "../../src/util/logger.ts";
import { childrenOf, eventually, temporaryFolder, writeFashionLike } from "./helpers.ts";

export type Service = Awaited<ReturnType<typeof startService>>;

/** A tiny run, of what `writeFashionLike(images, 260, 40)` has written: 15 steps of 16 images an epoch. */
export const tinySpec = (images: string, more: object = {}) => ({
  dataset: { kind: "fashion-mnist", path: images },
  encoder: { arch: "resnet10", stem: "cifar", width: 4 },
  dim: 16,
  queueSize: 64,
  batchSize: 16,
  splits: 4,
  epochs: 4,
  monitor: { bank: 100, holdout: 20, k: 20 },
  ...more,
});

/** `more`: variables of the environment, of the API and of the worker. */
export async function startService(more: Record<string, string> = {}) {
  const folder = temporaryFolder();
  const images = join(folder.path, "images");
  writeFashionLike(images, 260, 40);
  const settings = {
    MOCOD_DATA_DIR: join(folder.path, "data"),
    MOCOD_PORT: "0",
    MOCOD_THREADS: "2",
    MOCOD_LOCK_SECONDS: "1",
    ...more,
  };
  const env = readEnv(settings);
  const redis = await startEmbeddedRedis(env.dataDir);
  const api = await startApi(redis.url, env, createLogger("test"));
  const client = new Client(api.url);
  const main = join(import.meta.dir, "../../cli/main.ts");
  const startWorker = (more: Record<string, string> = {}): Subprocess =>
    Bun.spawn([process.execPath, main, "worker"], {
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, ...settings, REDIS_URL: redis.url, ...more },
    });
  let worker = startWorker();
  const others: Subprocess[] = [];

  return {
    folder: folder.path,
    dataDir: env.dataDir,
    redisUrl: redis.url,
    url: api.url,
    client,

    /** A tiny run of its images. */
    spec: (more: object = {}) => tinySpec(images, more),

    /** Polls the job until `look` is content; rejects when it fails. */
    until: (id: string, look: (job: Job) => unknown, seconds?: number) =>
      eventually(async () => {
        const job = await client.job(id);
        if (job.status === "failed") throw new Error(job.error ?? "failed");
        return look(job) ? job : undefined;
      }, seconds),

    /** Names and bytes of a run's checkpoints, and its metrics. */
    files: (id: string) => {
      const path = join(env.dataDir, "runs", id);
      const names = readdirSync(join(path, "checkpoints")).sort();
      return [
        ...names.map((name) => [name, readFileSync(join(path, "checkpoints", name))]),
        readFileSync(join(path, "metrics.jsonl"), "utf8"),
      ];
    },

    /** Pids of the processes that the worker has started. */
    children: () => childrenOf(worker.pid),
    worker: () => worker,

    /** Resolves to the worker's exit code. */
    stopWorker: (signal: "SIGTERM" | "SIGKILL"): Promise<number> => {
      worker.kill(signal);
      return worker.exited;
    },
    /** `more`: variables of its environment. */
    startWorker: (more?: Record<string, string>) => {
      worker = startWorker(more);
    },

    /** Starts another worker beside it. `more`: variables of its environment. */
    also: (more: Record<string, string>) => {
      others.push(startWorker(more));
    },

    stop: async () => {
      for (const one of [worker, ...others]) {
        one.kill("SIGTERM");
        await one.exited;
      }
      await api.stop();
      await redis.stop();
      folder[Symbol.dispose]();
    },
  };
}
