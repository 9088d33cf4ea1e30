/** The workers there are: each says every few seconds what it can and what it does. */
import type { Redis } from "ioredis";
import { isAlive, machineId } from "../../util/machine.ts";
import { keys, type QueueName } from "../keys.ts";

export const HEARTBEAT_MS = 3000;
/** Silent for so long, a worker is not listed any more. Its job is another matter: that is BullMQ's lock. */
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
  /** Bytes of the machine. */
  memory: number;
  startedAt: string;
  seenAt: string;
  /** The job that it has in hand. */
  job: string | null;
}

interface Heartbeat extends WorkerInfo {
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

  async leave(id: string): Promise<void> {
    await this.redis.multi().srem(keys.workers, id).del(keys.worker(id)).exec();
  }

  async list(): Promise<WorkerInfo[]> {
    return (await this.heartbeats()).map(({ held, ...info }) => info);
  }

  /**
   * Lets go of what workers of this machine held whose processes are gone: their locks would last for a minute or two.
   * BullMQ then finds the jobs without a lock.
   */
  async bury(): Promise<WorkerInfo[]> {
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
