/** The live workers. Each sends a heartbeat every few seconds, with its capabilities and its current job. */
import type { Redis } from "ioredis";
import { isAlive, machineId } from "../util/machine.ts";
import { keys, type QueueName } from "./keys.ts";

export const HEARTBEAT_MS = 3000;
/** A worker without a heartbeat for this long is not listed. Its job is kept by BullMQ's lock, not by this. */
const LISTED_MS = 15_000;

export interface WorkerInfo {
  id: string;
  host: string;
  pid: number;
  /** See `machineId`. */
  machine: string;
  version: string;
  /** `wasm`, or `webgpu: ` and the GPU's name. */
  device: string;
  /** Whether it takes jobs that need a GPU. */
  webgpu: boolean;
  threads: number;
  /** Memory of the machine in bytes. */
  memory: number;
  startedAt: string;
  seenAt: string;
  /** The job that it is working on. */
  job: string | null;
}

interface Heartbeat extends WorkerInfo {
  /** The lock on its current entry. */
  held: { queue: QueueName; entry: string; token: string } | null;
}

export class Fleet {
  constructor(private readonly redis: Redis) {}

  async beat(info: Heartbeat): Promise<void> {
    await this.redis
      .multi()
      .sadd(keys.workers, info.id)
      .set(keys.worker(info.id), JSON.stringify(info), "PX", LISTED_MS)
      .exec();
  }

  /** Removes a worker that shuts down. */
  async leave(id: string): Promise<void> {
    await this.redis.multi().srem(keys.workers, id).del(keys.worker(id)).exec();
  }

  /** Lists the live workers. */
  async list(): Promise<WorkerInfo[]> {
    return (await this.heartbeats()).map(({ held, ...info }) => info);
  }

  /**
   * Releases the locks of dead workers of this machine, which would otherwise last for a minute or two; BullMQ then
   * hands the jobs out again.
   *
   * @returns The dead workers.
   */
  async releaseDead(): Promise<WorkerInfo[]> {
    const dead = (await this.heartbeats()).filter(({ machine, pid }) => machine === machineId() && !isAlive(pid));
    for (const { id, held } of dead) {
      if (held) {
        const lock = keys.lock(held.queue, held.entry);
        if ((await this.redis.get(lock)) === held.token) await this.redis.del(lock);
      }
      await this.leave(id);
    }
    return dead;
  }

  private async heartbeats(): Promise<Heartbeat[]> {
    const ids = await this.redis.smembers(keys.workers);
    if (ids.length === 0) return [];
    const texts = await this.redis.mget(ids.map(keys.worker));
    const silent = ids.filter((_, i) => texts[i] === null);
    if (silent.length > 0) await this.redis.srem(keys.workers, ...silent);
    return texts.filter((text) => text !== null).map((text) => JSON.parse(text) as Heartbeat);
  }
}
