/** What `serve`, `worker` and `demo` have in common: a Redis, a clean end. */
import { join } from "node:path";
import { type EmbeddedRedis, embeddedRedisUrl, startEmbeddedRedis } from "../src/queue/redis.ts";
import type { Env } from "../src/util/env.ts";
import { UserError } from "../src/util/errors.ts";

/** The user's Redis, or an embedded one started here. */
export async function openRedis(env: Env): Promise<EmbeddedRedis> {
  if (env.redisUrl) return { url: env.redisUrl, stop: async () => undefined };
  return startEmbeddedRedis(env.dataDir);
}

/** The Redis that a process which does not start one should use. */
export function findRedis(env: Env): string {
  const url = env.redisUrl ?? embeddedRedisUrl(env.dataDir);
  if (!url) throw new UserError("no Redis: set REDIS_URL, or start `mocod serve` on the same MOCOD_DATA_DIR first");
  return url;
}

/** A worker as a process of its own, with these variables besides our own. What it prints is ours. */
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
