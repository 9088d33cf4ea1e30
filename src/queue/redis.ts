/** Connections to Redis: the user's, or an embedded one that lives in the data folder. */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { Redis } from "ioredis";
import { writeAtomic } from "../store/files.ts";
import { UserError } from "../util/errors.ts";

export interface EmbeddedRedis {
  readonly url: string;
  /** Ends the server; its data stays in the folder. */
  stop(): Promise<void>;
}

const HELP = "no Redis found: install it (Debian: apt-get install redis-server) or set REDIS_URL to a running one";

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** The address of the embedded Redis that some process of ours runs for this data folder, if any. */
export function embeddedRedisUrl(dataDir: string): string | undefined {
  const file = join(dataDir, "redis", "url");
  return existsSync(file) ? readFileSync(file, "utf8").trim() : undefined;
}

/**
 * Starts `redis-server` or `valkey-server` with its append-only file in the data folder, bound to loopback.
 * Throws UserError when neither is installed.
 */
export async function startEmbeddedRedis(dataDir: string): Promise<EmbeddedRedis> {
  const binary = Bun.which("redis-server") ?? Bun.which("valkey-server");
  if (!binary) throw new UserError(HELP);
  const dir = join(dataDir, "redis");
  mkdirSync(dir, { recursive: true });
  const port = await freePort();
  const options = {
    port,
    bind: "127.0.0.1",
    dir,
    appendonly: "yes",
    appendfsync: "everysec",
    save: "",
    "maxmemory-policy": "noeviction",
    logfile: join(dir, "redis.log"),
  };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = Bun.spawn([binary, ...args], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  const url = `redis://127.0.0.1:${port}`;
  const probe = connect(url);
  try {
    await Promise.race([
      waitUntilReady(probe, () => {}),
      child.exited.then((code) => {
        throw new UserError(`${binary} ended with code ${code}; see ${join(dir, "redis.log")}`);
      }),
    ]);
  } finally {
    probe.disconnect();
  }
  const urlFile = join(dir, "url");
  writeAtomic(urlFile, `${url}\n`);
  return {
    url,
    async stop() {
      rmSync(urlFile, { force: true });
      child.kill("SIGTERM");
      await child.exited;
    },
  };
}

/** A connection that retries for ever; commands wait while Redis is away. BullMQ's workers need it so. */
export function connect(url: string): Redis {
  const redis = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: (times) => Math.min(times * 100, 2000) });
  // ioredis throws an 'error' event that nobody hears; every failed attempt is one, and retrying is the answer.
  redis.on("error", () => undefined);
  return redis;
}

/** Waits for Redis, saying so once; then warns where its eviction policy could lose jobs. */
export async function waitUntilReady(redis: Redis, log: (message: string) => void): Promise<void> {
  const { host, port } = redis.options;
  if (redis.status !== "ready") {
    const timer = setTimeout(() => log(`waiting for Redis at ${host}:${port} …`), 1000);
    await redis.ping();
    clearTimeout(timer);
  }
  const policy = ((await redis.config("GET", "maxmemory-policy")) as string[] | Record<string, string>) ?? [];
  const value = Array.isArray(policy) ? policy[1] : policy["maxmemory-policy"];
  if (value && value !== "noeviction") {
    log(`Redis at ${host}:${port} has maxmemory-policy ${value}: it may evict jobs; set it to noeviction`);
  }
}
