/** Housekeeping that every API and every worker offers to do: one of them does it at a time. */
import { messageOf } from "../../util/errors.ts";
import type { Jobs } from "../jobs.ts";
import { keys } from "../keys.ts";
import { HEARTBEAT_MS } from "./fleet.ts";
import { mend, rebuild } from "./repair.ts";

/** Nobody else mends for so long after someone did. */
const MEND_MS = 10_000;
/** Whoever rebuilds says so as often as needed; one that died is replaced after this. */
const REBUILD_MS = 30_000;

/**
 * Which life of which Redis knows the store: the address of the store and Redis's own run id, which is new after every
 * restart, when the last second before a power cut may be missing.
 */
async function markOf(jobs: Jobs): Promise<string> {
  const info = await jobs.redis.info("server");
  return `${jobs.archive.blobs.url} ${info.match(/run_id:(\w+)/)?.[1] ?? ""}`;
}

/**
 * Compares Redis with the store if Redis was wiped or started anew since anyone last did, and mends what processes that
 * died have left.
 */
export async function tend(jobs: Jobs, log: (message: string) => void): Promise<void> {
  const { redis } = jobs;
  const mark = await markOf(jobs);
  const known = await redis.get(keys.marker);
  if (known !== mark) {
    if (!(await redis.set(keys.tending, process.pid, "PX", REBUILD_MS, "NX"))) return;
    const renewal = setInterval(() => redis.pexpire(keys.tending, REBUILD_MS), REBUILD_MS / 3);
    try {
      const count = await rebuild(jobs, log);
      if (count > 0) log(`Redis did not know ${count} jobs of ${jobs.archive.blobs.url}; they are back`);
      await redis.set(keys.marker, mark);
    } finally {
      clearInterval(renewal);
      await redis.del(keys.tending);
    }
    return;
  }
  for (const { id, host, pid } of await jobs.fleet.bury()) log(`worker ${id} (${host}, process ${pid}) is gone`);
  if (await redis.set(keys.tending, process.pid, "PX", MEND_MS, "NX")) await mend(jobs);
}

/** Tends again and again until stopped. An error is told, and the next round comes. */
export function startTending(jobs: Jobs, log: (message: string) => void): () => Promise<void> {
  let stopped = false;
  let wake: () => void = () => undefined;
  const rounds = (async () => {
    while (!stopped) {
      await tend(jobs, log).catch((error: unknown) => {
        if (!stopped) log(`housekeeping: ${messageOf(error)}`);
      });
      if (stopped) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, HEARTBEAT_MS);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  })();
  return async () => {
    stopped = true;
    wake();
    await rounds;
  };
}
