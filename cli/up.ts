/** `mocod up`: the whole service on one machine, in one command that keeps running. */
import { startApi } from "../api/server.ts";
import type { Env } from "../src/util/env.ts";
import { UserError } from "../src/util/errors.ts";
import { createLogger } from "../src/util/logger.ts";
import { startTelemetry } from "../src/util/telemetry.ts";
import { openRedis, spawnWorker, untilStopped } from "./services.ts";

/** Delay before a worker that has ended is restarted; doubles each time it ends within `LONGEST_MS`. */
const FIRST_MS = 1000;
const LONGEST_MS = 60_000;

/** Runs the API and `count` workers until SIGINT or SIGTERM. */
export async function up(env: Env, count: number): Promise<void> {
  if (!Number.isInteger(count) || count < 1 || count > 64) {
    throw new UserError(`--workers: got ${count}, allowed: 1 to 64`);
  }
  const log = createLogger("mocod");
  let stopping = false;
  const stopped = untilStopped();
  const stopTelemetry = startTelemetry("mocod");
  const redis = await openRedis(env);
  const api = await startApi(redis.url, env, log);
  const threads = Math.max(1, Math.floor(env.threads / count));
  const running = new Set<Bun.Subprocess>();
  const keep = async () => {
    for (let delay = FIRST_MS; !stopping; ) {
      const startedAt = performance.now();
      const worker = spawnWorker({
        REDIS_URL: redis.url,
        MOCOD_DATA_DIR: env.dataDir,
        MOCOD_STORE: env.storeUrl,
        MOCOD_DEVICE: env.device,
        MOCOD_THREADS: String(threads),
      });
      running.add(worker);
      const code = await worker.exited;
      running.delete(worker);
      if (stopping) return;
      delay = performance.now() - startedAt > LONGEST_MS ? FIRST_MS : Math.min(LONGEST_MS, 2 * delay);
      log.warn({ code, delay }, "a worker has ended and is restarted");
      await Promise.race([Bun.sleep(delay), stopped]);
    }
  };
  const kept = Array.from({ length: count }, keep);
  console.error(
    `mocod is up at ${api.url} with ${count} worker${count === 1 ? "" : "s"} of ${threads} threads; Ctrl-C ends it`,
  );
  await stopped;
  stopping = true;
  for (const worker of running) worker.kill("SIGTERM");
  await Promise.all(kept);
  await api.stop();
  await stopTelemetry();
  await redis.stop();
}
