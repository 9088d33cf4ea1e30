/** What `serve`, `worker`, `up` and `demo` share: a Redis, worker processes, a clean shutdown. */
import { join } from "node:path";
import { type EmbeddedRedis, embeddedRedisUrl, startEmbeddedRedis } from "../src/queue/redis.ts";
import type { Env } from "../src/util/env.ts";
import { UserError } from "../src/util/errors.ts";

/** Opens the user's Redis, or starts an embedded one. */
export async function openRedis(env: Env): Promise<EmbeddedRedis> {
  if (env.redisUrl) return { url: env.redisUrl, stop: async () => undefined };
  return startEmbeddedRedis(env.dataDir);
}

/** Finds a Redis without starting one: the user's, or that of another process on the same data folder. */
export function findRedis(env: Env): string {
  const url = env.redisUrl ?? embeddedRedisUrl(env.dataDir);
  if (!url) throw new UserError("no Redis: set REDIS_URL, or start `mocod serve` on the same MOCOD_DATA_DIR first");
  return url;
}

/** Starts a worker as a process with additional variables. Its output goes to ours. */
export const spawnWorker = (variables: Record<string, string>): Bun.Subprocess =>
  Bun.spawn([process.execPath, join(import.meta.dir, "main.ts"), "worker"], {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...variables },
  });

/** Resolves on the first SIGINT or SIGTERM; a second one ends the process at once. */
export function untilStopped(): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    const stop = () => {
      if (asked) process.exit(130);
      asked = true;
      resolve();
    };
    process.on("SIGINT", stop);
    process.on("SIGTERM", stop);
  });
}
