/**
 * A small installation of processes that can each be hurt: a Redis behind a proxy, an API, two workers with different
 * numbers of threads, a store on a disk of its own where that can be had. Everything is gone afterwards.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { Client } from "../../cli/client.ts";
import { connect } from "../../src/queue/redis.ts";
import { childrenOf, eventually, processes, temporaryFolder, writeFashionLike } from "../support/helpers.ts";

const MAIN = join(import.meta.dir, "../../cli/main.ts");
const FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const STORE_MEGABYTES = 400;
/** Shorter than a user's, so that a stop for longer than it takes seconds. */
export const LOCK_SECONDS = 4;

async function freePort(): Promise<number> {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

const quiet = ["ignore", "ignore", "ignore"] as ["ignore", "ignore", "ignore"];
const succeeds = (...command: string[]) => Bun.spawnSync(command, { stdio: quiet }).exitCode === 0;

export type Cluster = Awaited<ReturnType<typeof startCluster>>;

/** `more`: variables of every process's environment. */
export async function startCluster(logFile: string, more: Record<string, string> = {}) {
  const folder = temporaryFolder();
  const images = join(folder.path, "images");
  writeFashionLike(images, 260, 40);
  const storePath = join(folder.path, "store");
  mkdirSync(storePath);
  const ownDisk = succeeds("mount", "-t", "tmpfs", "-o", `size=${STORE_MEGABYTES}m`, "tmpfs", storePath);
  const canJump = existsSync(FAKETIME);
  const clockFiles = [0, 1].map((i) => join(folder.path, `clock-${i}`));
  for (const file of clockFiles) writeFileSync(file, "+0\n");

  // Redis, and the way to it.
  const [redisPort, proxyPort, apiPort] = [await freePort(), await freePort(), await freePort()];
  const redisDir = join(folder.path, "redis");
  mkdirSync(redisDir);
  let redis: Subprocess;
  const startRedis = async () => {
    const options = { port: redisPort, bind: "127.0.0.1", dir: redisDir, appendonly: "yes", save: "" };
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
    redis = Bun.spawn(["redis-server", ...args, "--maxmemory-policy", "noeviction"], { stdio: quiet });
    const probe = connect(`redis://127.0.0.1:${redisPort}`);
    await probe.ping();
    probe.disconnect();
  };
  await startRedis();
  const sockets = new Set<Socket>();
  let cut = false;
  const proxy = createServer((client) => {
    if (cut) return client.destroy();
    const upstream = createConnection(redisPort, "127.0.0.1");
    for (const [a, b] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(a);
      a.on("data", (chunk) => b.write(chunk));
      a.on("error", () => undefined); // to break is what it is here for
      a.on("close", () => {
        sockets.delete(a);
        b.destroy();
      });
    }
    return undefined;
  });
  await new Promise<void>((resolve) => proxy.listen(proxyPort, "127.0.0.1", resolve));

  writeFileSync(logFile, "");
  const settings = {
    REDIS_URL: `redis://127.0.0.1:${proxyPort}`,
    MOCOD_STORE: `file://${storePath}`,
    MOCOD_PORT: String(apiPort),
    MOCOD_LOCK_SECONDS: String(LOCK_SECONDS),
    MOCOD_STALL_MINUTES: "0.2",
    MOCOD_REDIS_JOBS: "8",
    MOCOD_DEVICE: "wasm",
    ...more,
  };
  const spawn = (args: string[], own: Record<string, string>): Subprocess =>
    Bun.spawn(["bash", "-c", `exec "$@" 2>>${logFile}`, "mocod", process.execPath, MAIN, ...args], {
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, ...settings, ...own },
    });
  const startApi = () => spawn(["serve", "--no-worker"], { MOCOD_DATA_DIR: join(folder.path, "api") });
  const startWorker = (i: number) =>
    spawn(["worker"], {
      MOCOD_DATA_DIR: join(folder.path, `worker-${i}`),
      MOCOD_THREADS: String(i + 1),
      ...(canJump && {
        LD_PRELOAD: FAKETIME,
        FAKETIME_TIMESTAMP_FILE: clockFiles[i] as string,
        FAKETIME_CACHE_DURATION: "1",
        FAKETIME_DONT_FAKE_MONOTONIC: "1",
      }),
    });
  let api = startApi();
  const workers = [startWorker(0), startWorker(1)];
  const client = new Client(`http://127.0.0.1:${apiPort}`);
  const answers = () =>
    fetch(`${client.url}/livez`).then(
      ({ ok }) => ok,
      () => false, // not yet
    );
  await eventually(answers);

  const filler = join(storePath, "filler");
  return {
    client,
    storePath,
    ownDisk,
    canJump,
    /** 16 steps of 16 images an epoch. */
    spec: (more: object = {}) => ({
      dataset: { kind: "fashion-mnist", path: images },
      encoder: { arch: "resnet10", stem: "cifar", width: 8 },
      dim: 16,
      queueSize: 64,
      batchSize: 16,
      splits: 4,
      epochs: 12,
      monitor: { bank: 100, holdout: 20, k: 20 },
      checkpoint: { everyMinutes: 0.05 },
      ...more,
    }),
    api: {
      restart: async () => {
        api.kill("SIGKILL");
        await api.exited;
        api = startApi();
        await eventually(answers);
      },
    },
    worker: {
      pid: (i: number) => (workers[i] as Subprocess).pid,
      /** Its child's pid, where it has a job in hand. */
      child: (i: number): number | undefined => childrenOf((workers[i] as Subprocess).pid)[0],
      restart: async (i: number, signal: "SIGKILL" | "SIGTERM"): Promise<number> => {
        const worker = workers[i] as Subprocess;
        worker.kill(signal);
        const code = await worker.exited;
        workers[i] = startWorker(i);
        return code;
      },
      clock: (i: number, seconds: number) =>
        writeFileSync(clockFiles[i] as string, `${seconds >= 0 ? "+" : ""}${seconds}\n`),
    },
    redis: {
      restart: async (awayMs: number) => {
        redis.kill("SIGKILL");
        await redis.exited;
        await Bun.sleep(awayMs);
        await startRedis();
      },
      wipe: async () => {
        const direct = connect(`redis://127.0.0.1:${redisPort}`);
        await direct.flushall();
        direct.disconnect();
      },
      cut: async (awayMs: number) => {
        cut = true;
        for (const socket of sockets) socket.destroy();
        await Bun.sleep(awayMs);
        cut = false;
      },
    },
    disk: {
      fill: () => {
        // As much as there is: dd ends with an error when the disk is full.
        Bun.spawnSync(["dd", "if=/dev/zero", `of=${filler}`, "bs=64k"], { stdio: quiet });
      },
      free: () => rmSync(filler, { force: true }),
    },
    /** Pids of children of nobody: the processes that compute and whose worker is gone. */
    orphans: (): number[] => {
      const own = new Set([...workers.map(({ pid }) => pid), api.pid]);
      const child = join(import.meta.dir, "../../workers/child.ts");
      return processes()
        .filter(({ args, parent, state }) => args.includes(child) && state !== "Z" && !own.has(parent))
        .map(({ pid }) => pid);
    },
    stop: async () => {
      for (const process of [...workers, api]) process.kill("SIGTERM");
      await Promise.all([...workers, api].map(({ exited }) => exited));
      for (const socket of sockets) socket.destroy();
      proxy.close();
      redis.kill("SIGTERM");
      await redis.exited;
      if (ownDisk) Bun.spawnSync(["umount", storePath]);
      folder[Symbol.dispose]();
    },
  };
}
