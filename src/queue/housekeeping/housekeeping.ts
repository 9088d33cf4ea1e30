/** Housekeeping: every API and every worker runs it, under locks in Redis, so that one of them works at a time. */
import type { Redis } from "ioredis";
import type { Blobs } from "../../store/blobs.ts";
import { messageOf } from "../../util/errors.ts";
import { type Fleet, HEARTBEAT_MS } from "../fleet.ts";
import { keys } from "../keys.ts";
import { type Repairable, rebuild, repair } from "./repair.ts";

/** Minimum interval between two repairs, over all processes. */
const REPAIR_MS = 10_000;
/** Lease of a rebuild, which is renewed while it runs. */
const REBUILD_MS = 30_000;

export interface HousekeepingDeps extends Repairable {
  readonly redis: Redis;
  readonly blobs: Blobs;
  readonly fleet: Fleet;
  readonly log: (message: string) => void;
}

export class Housekeeping {
  constructor(private readonly deps: HousekeepingDeps) {}

  /**
   * Runs a round every few seconds, and logs its errors.
   *
   * @param also - What this process does in every round besides.
   * @returns Stops it, after the current round.
   */
  start(also: () => Promise<void> = async () => undefined): () => Promise<void> {
    let stopped = false;
    let wake: () => void = () => undefined;
    const logged = (work: Promise<void>) =>
      work.catch((error: unknown) => {
        if (!stopped) this.deps.log(`housekeeping: ${messageOf(error)}`);
      });
    const rounds = (async () => {
      while (!stopped) {
        await logged(this.round());
        if (!stopped) await logged(also());
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

  /**
   * Restores from the store what Redis has lost, and repairs the rest.
   *
   * @returns The number of jobs restored.
   */
  rebuild(): Promise<number> {
    return rebuild(this.deps, this.deps.log);
  }

  /** Rebuilds where Redis was wiped or restarted since the last rebuild; otherwise releases locks and repairs. */
  private async round(): Promise<void> {
    const { redis, fleet, log } = this.deps;
    const marker = await this.marker();
    if ((await redis.get(keys.marker)) !== marker) return this.rebuildOnce(marker);
    for (const { id, host, pid } of await fleet.releaseDead()) log(`worker ${id} (${host}, process ${pid}) has died`);
    if (await redis.set(keys.housekeeping, process.pid, "PX", REPAIR_MS, "NX")) await repair(this.deps);
  }

  private async rebuildOnce(marker: string): Promise<void> {
    const { redis, blobs, log } = this.deps;
    if (!(await redis.set(keys.housekeeping, process.pid, "PX", REBUILD_MS, "NX"))) return;
    const renewal = setInterval(() => redis.pexpire(keys.housekeeping, REBUILD_MS), REBUILD_MS / 3);
    try {
      const count = await this.rebuild();
      if (count > 0) log(`Redis had lost ${count} jobs of ${blobs.url}; they are restored`);
      await redis.set(keys.marker, marker);
    } finally {
      clearInterval(renewal);
      await redis.del(keys.housekeeping);
    }
  }

  /**
   * Identifies this Redis instance and store: the store's address, and Redis's run id, which changes with every
   * restart. A restart after a power failure may have lost the last second of changes.
   */
  private async marker(): Promise<string> {
    const { redis, blobs } = this.deps;
    const info = await redis.info("server");
    return `${blobs.url} ${info.match(/run_id:(\w+)/)?.[1] ?? ""}`;
  }
}
