/** The entries of jobs in BullMQ, which hand them to workers. A job's record names the entry that counts. */
import type { Queue } from "bullmq";
import type { Redis } from "ioredis";
import { CONTROL_CHANNEL, keys, QUEUES, type QueueName } from "../keys.ts";
import { openQueue } from "../open_queue.ts";
import type { JobRecord } from "../records/record.ts";
import type { Records } from "../records/records.ts";

/** Highest priority of a job. BullMQ serves the lowest number first. */
const HIGHEST = 1000;
/** Records that are looked up at once. */
const STRIDE = 1000;

export class Entries {
  private readonly queues: Record<QueueName, Queue<{ runId: string }>>;

  constructor(
    private readonly redis: Redis,
    private readonly records: Records,
  ) {
    const open = (name: QueueName) => openQueue<{ runId: string }>(QUEUES[name], redis);
    this.queues = { any: open("any"), webgpu: open("webgpu") };
  }

  /** Adds the entry of a queued job to BullMQ, at the job's own place among those of its priority. Idempotent. */
  async add(id: string): Promise<void> {
    const record = await this.records.read(id);
    if (record?.status !== "queued") return;
    const { entry, queue, type, priority } = record;
    await this.queues[queue].add(
      type,
      { runId: id },
      { jobId: entry, priority: HIGHEST + 1 - priority, removeOnComplete: true, removeOnFail: true },
    );
    const place = record.place || (await this.redis.zscore(keys.prioritized(queue), entry));
    if (!place) return; // a worker took it at once
    if (record.place) await this.redis.zadd(keys.prioritized(queue), "XX", place, entry);
    else await this.redis.hset(keys.run(id), "place", place);
  }

  async remove({ queue, entry }: Pick<JobRecord, "queue" | "entry">): Promise<void> {
    await this.queues[queue].remove(entry);
  }

  /**
   * Checks the fence: whether `token` still holds the lock on the entry, and the entry is still the job's current one.
   */
  async holds({ id, queue, entry }: Pick<JobRecord, "id" | "queue" | "entry">, token: string): Promise<boolean> {
    const [lock, current] = await Promise.all([
      this.redis.get(keys.lock(queue, entry)),
      this.redis.hget(keys.run(id), "entry"),
    ]);
    return lock === token && current === entry;
  }

  /** Finds the jobs whose current entry is missing in BullMQ. */
  async missing(ids: readonly string[]): Promise<JobRecord[]> {
    const missing: JobRecord[] = [];
    for (let from = 0; from < ids.length; from += STRIDE) {
      const some = ids.slice(from, from + STRIDE);
      const reads = this.redis.pipeline();
      for (const id of some) reads.hmget(keys.run(id), "entry", "queue");
      const where = ((await reads.exec()) ?? []).map(([, found]) => found as [string, QueueName]);
      const checks = this.redis.pipeline();
      for (const [entry, queue] of where) checks.exists(keys.entry(queue, entry));
      const exist = (await checks.exec()) ?? [];
      for (const [i, id] of some.entries()) {
        if (exist[i]?.[1] !== 0) continue;
        const record = await this.records.read(id);
        // A job that has got another entry since is checked the next time.
        if (record && record.entry === where[i]?.[0]) missing.push(record);
      }
    }
    return missing;
  }

  /** Notifies the worker that has a job of a change of its status. Best effort: workers read the record as well. */
  async notify(id: string): Promise<void> {
    await this.redis.publish(CONTROL_CHANNEL, JSON.stringify({ id }));
  }

  /** Reads Redis's clock, which delays count by. Milliseconds since 1970. */
  async now(): Promise<number> {
    const [seconds] = await this.redis.time();
    return Number(seconds) * 1000;
  }

  async close(): Promise<void> {
    await Promise.all(Object.values(this.queues).map((queue) => queue.close()));
  }
}
