/** Connections to Redis: to the user's, or to an embedded one whose data is in the data folder. */
import { existsSync, mkdirSync, realpathSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { Redis } from "ioredis";
import { readJson, writeAtomic } from "../store/files.ts";
import { messageOf, UserError } from "../util/errors.ts";
import { isAlive } from "../util/machine.ts";

export interface EmbeddedRedis {
  readonly url: string;
  /** Stops the server; its data stays in the folder. */
  stop(): Promise<void>;
}

const HELP = "no Redis found: install it (Debian: apt-get install redis-server) or set REDIS_URL to a running one";

/** A port of loopback that is free now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

interface Running {
  url: string;
  /** Pid of the process that started it and will stop it. */
  owner: number;
}

const runningFile = (dataDir: string) => join(dataDir, "redis", "running.json");

function readRunning(dataDir: string): Running | undefined {
  const file = runningFile(dataDir);
  return existsSync(file) ? readJson<Running>(file) : undefined;
}

/** Finds the address of the embedded Redis that a mocod process runs for this data folder. */
export const embeddedRedisUrl = (dataDir: string): string | undefined => readRunning(dataDir)?.url;

/** The folder of a server's data, as CONFIG says it in either protocol; undefined: it does not say. */
async function folderOf(redis: Redis): Promise<string | undefined> {
  const found = (await redis.config("GET", "dir")) as string[] | Record<string, string>;
  return Array.isArray(found) ? found[1] : found.dir;
}

/** Whether the server at `url` has its data in `dir`: a port that one process had may be another's by now. */
async function serves(url: string, dir: string): Promise<boolean> {
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: null, maxRetriesPerRequest: 0 });
  redis.on("error", () => undefined); // connect() below reports it
  try {
    await redis.connect();
    return (await folderOf(redis)) === realpathSync(dir);
  } catch {
    // That it cannot be asked is the answer.
    return false;
  } finally {
    redis.disconnect();
  }
}

async function shutDown(url: string): Promise<void> {
  const redis = new Redis(url, { retryStrategy: null });
  const closed = new Promise((resolve) => redis.once("close", resolve));
  redis.on("error", () => undefined); // the server closes the connection instead of answering
  redis.shutdown().catch(() => undefined);
  await closed;
}

/** Ports to try: another process may bind one between its being chosen and the server's start. */
const PORTS = 5;

/**
 * Starts `redis-server` or `valkey-server` with its append-only file in the data folder, bound to loopback. One that
 * already serves this folder is reused: it belongs to a live mocod process, which will stop it, or a killed one left
 * it.
 *
 * @param choosePort Finds a free port.
 * @throws UserError where neither is installed, or the server does not start.
 */
export async function startEmbeddedRedis(dataDir: string, choosePort = freePort): Promise<EmbeddedRedis> {
  const dir = join(dataDir, "redis");
  mkdirSync(dir, { recursive: true });
  const found = readRunning(dataDir);
  if (found && (await serves(found.url, dir))) {
    if (isAlive(found.owner)) return { url: found.url, stop: async () => undefined };
    return own(dataDir, found.url);
  }
  const binary = Bun.which("redis-server") ?? Bun.which("valkey-server");
  if (!binary) throw new UserError(HELP);
  for (let tried = 1; ; tried++) {
    const started = await startOn(binary, dir, await choosePort());
    if ("url" in started) return own(dataDir, started.url);
    if (tried === PORTS) throw new UserError(`${binary} ${started.failed}; see ${join(dir, "redis.log")}`);
  }
}

/** Starts a server on a port. What answers there may be another process's server, while this one fails to bind. */
async function startOn(binary: string, dir: string, port: number): Promise<{ url: string } | { failed: string }> {
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
  const child = Bun.spawn([binary, ...args], {
    stdio: ["ignore", "ignore", "ignore"],
    // Ctrl-C at the terminal must not stop it before the worker has put its job to rest.
    detached: true,
  });
  const url = `redis://127.0.0.1:${port}`;
  const probe = connect(url);
  try {
    const ended = await Promise.race([
      waitUntilReady(probe, () => {}),
      child.exited.then((code) => ({ failed: `ended with code ${code}` })),
    ]);
    if (ended) return ended;
    if ((await folderOf(probe)) === realpathSync(dir)) return { url };
    return { failed: `could not bind port ${port}, on which another Redis answers` };
  } finally {
    probe.disconnect();
  }
}

function own(dataDir: string, url: string): EmbeddedRedis {
  const running: Running = { url, owner: process.pid };
  writeAtomic(runningFile(dataDir), `${JSON.stringify(running)}\n`);
  return {
    url,
    async stop() {
      rmSync(runningFile(dataDir), { force: true });
      await shutDown(url);
    },
  };
}

/**
 * Opens a connection that reconnects without limit. Commands wait while Redis is unreachable, as BullMQ's workers
 * require.
 *
 * @param options - `commandTimeout`: milliseconds after which a command fails; unset: never.
 */
export function connect(url: string, options: { commandTimeout?: number } = {}): Redis {
  const retryStrategy = (times: number) => Math.min(times * 100, 2000);
  const redis = new Redis(url, { maxRetriesPerRequest: null, retryStrategy, ...options });
  // Every failed attempt is an 'error' event, which ioredis throws where it has no listener.
  redis.on("error", () => undefined);
  return redis;
}

/**
 * Waits for Redis, and logs once that and why it waits. Warns where the eviction policy could lose jobs.
 *
 * @throws UserError where Redis refuses the user or the password.
 */
export async function waitUntilReady(redis: Redis, log: (message: string) => void): Promise<void> {
  const { host, port } = redis.options;
  if (redis.status !== "ready") {
    let why = "";
    const note = (error: Error) => {
      why = `: ${error.message}`;
    };
    redis.on("error", note);
    const timer = setTimeout(() => log(`waiting for Redis at ${host}:${port} …${why}`), 1000);
    try {
      await redis.ping();
    } catch (error) {
      if (!/^(NOAUTH|WRONGPASS|NOPERM)\b/.test(messageOf(error))) throw error; // or a closed connection
      throw new UserError(`Redis at ${host}:${port} refuses REDIS_URL's user and password: ${messageOf(error)}`);
    } finally {
      clearTimeout(timer);
      redis.off("error", note);
    }
  }
  const policy = ((await redis.config("GET", "maxmemory-policy")) as string[] | Record<string, string>) ?? [];
  const value = Array.isArray(policy) ? policy[1] : policy["maxmemory-policy"];
  if (value && value !== "noeviction") {
    log(`Redis at ${host}:${port} has maxmemory-policy ${value}: it may evict jobs; set it to noeviction`);
  }
}
