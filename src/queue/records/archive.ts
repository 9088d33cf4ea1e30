/** Synchronises jobs between Redis and the store: saves every change, and restores what Redis has lost. */
import type { Redis } from "ioredis";
import { atRest, finalStatuses, type Moves } from "../../schema/life.ts";
import type { Blobs } from "../../store/blobs.ts";
import { RUNS, RunStore } from "../../store/run_store.ts";
import { messageOf, UserError } from "../../util/errors.ts";
import { keys } from "../keys.ts";
import { cleanScript, evaluate, forgetScript } from "../lua/scripts.ts";
import { createRecord, decodeRecord, JOB_FORMAT, type JobEvent, type JobRecord, noAttempts } from "./record.ts";

/** job.json: the persistent part of a record; `progress` only for finished jobs. */
export type StoredJob = Omit<JobRecord, "waitingFor" | "position">;

const RUN_ID = /^run_[0-9a-z]{1,40}$/;

/** Fields that older versions did not write. */
const defaults = {
  status: "queued" as const,
  priority: 0,
  forked: null,
  pipeline: null,
  metadata: {},
  warnings: [],
  result: null,
  error: null,
  progress: null,
  startedAt: null,
  finishedAt: null,
  format: JOB_FORMAT,
  version: 0,
  generation: 0,
  entry: "",
  queue: "any" as const,
  place: "",
  attempts: noAttempts,
  retryAt: null,
  request: null,
};

export class Archive {
  constructor(
    private readonly redis: Redis,
    private readonly blobs: Blobs,
    /** Number of finished jobs whose records stay in Redis. */
    private readonly kept: number,
  ) {}

  run(id: string): RunStore {
    return new RunStore(this.blobs, id);
  }

  /**
   * Reads a job from the store; undefined where the store has none.
   *
   * @throws UserError where the file is damaged or was written by a newer version.
   */
  async load(id: string): Promise<StoredJob | undefined> {
    if (!RUN_ID.test(id)) return undefined;
    const job = await this.run(id).readJson<StoredJob>("job.json");
    if (!job) return undefined;
    if ((job.format ?? 0) > JOB_FORMAT) {
      throw new UserError(`job ${id}: format ${job.format} is of a newer mocod; this one knows up to ${JOB_FORMAT}`);
    }
    return { ...defaults, ...job };
  }

  async write(job: StoredJob, history: readonly JobEvent[]): Promise<void> {
    const run = this.run(job.id);
    await run.writeLines("history.jsonl", history);
    await run.writeJson("job.json", job);
  }

  /** Writes the record to the store, again for as long as it changes during the write. */
  async save(id: string): Promise<void> {
    for (;;) {
      const [hash, history] = await Promise.all([
        this.redis.hgetall(keys.run(id)),
        this.redis.lrange(keys.history(id), 0, -1),
      ]);
      const record = decodeRecord(hash);
      if (record) {
        const { waitingFor, position, ...stored } = record;
        await this.write(
          finalStatuses.includes(stored.status) ? stored : { ...stored, progress: null },
          history.map((text) => JSON.parse(text) as JobEvent),
        );
      }
      const outcome = await evaluate(this.redis, cleanScript(id, record?.version));
      if (outcome === "deleted") await this.run(id).removeAll(); // or a rebuild would find what was just written
      if (outcome !== "newer") return;
    }
  }

  /** Lists the jobs whose record is newer than their file in the store. */
  unsaved(): Promise<string[]> {
    return this.redis.smembers(keys.dirty);
  }

  /** Marks a record as newer than its file, so that it is saved, and not evicted before. */
  async markUnsaved(id: string): Promise<void> {
    await this.redis.sadd(keys.dirty, id);
  }

  /**
   * Brings an evicted record back to Redis, to be changed. Marks it first, so that a concurrent `trim` cannot evict it.
   */
  async revive(id: string): Promise<void> {
    await this.markUnsaved(id);
    if ((await this.redis.exists(keys.run(id))) === 0) await this.restore(id, undefined);
  }

  /** Takes back the mark of a job that does not exist. */
  async unmark(id: string): Promise<void> {
    await this.redis.srem(keys.dirty, id);
  }

  /** Evicts the records of the oldest finished jobs from Redis. They stay in the index and are read from the store. */
  async trim(): Promise<void> {
    const old = await this.redis.zrange(keys.finished, 0, `${-(this.kept + 1)}`);
    for (const id of old) await evaluate(this.redis, forgetScript(id));
  }

  /**
   * Copies a job from the store to Redis where the store's version is newer.
   *
   * @param version - Version that Redis has; undefined: Redis has no record.
   * @returns The restored job; undefined where nothing had to be restored.
   */
  async restore(id: string, version: number | undefined): Promise<StoredJob | undefined> {
    const job = await this.load(id);
    if (!job || (version !== undefined && version >= job.version)) return undefined;
    const status = (atRest as Moves)[job.status] ?? job.status;
    const finishedAt = finalStatuses.includes(status) ? (job.finishedAt ?? new Date().toISOString()) : null;
    // A new generation: an earlier entry, if BullMQ still has one, must not count.
    const generation = job.generation + 1;
    const restored = { ...job, status, finishedAt, generation, entry: `${id}_${generation}`, place: "" };
    await createRecord(this.redis, restored, await this.run(id).readLines<JobEvent>("history.jsonl"));
    if (status === "waiting" && "from" in job.spec) await this.redis.sadd(keys.dependents(job.spec.from), id);
    return restored;
  }

  /** Restores every job that Redis lacks or has an older version of. Oldest first. */
  async rebuild(log: (message: string) => void): Promise<StoredJob[]> {
    const restored: StoredJob[] = [];
    for (const id of await this.blobs.folders(RUNS)) {
      const [score, version] = await Promise.all([
        this.redis.zscore(keys.index, id),
        this.redis.hget(keys.run(id), "version"),
      ]);
      // In the index without a record: finished and evicted.
      if (score !== null && version === null) continue;
      try {
        const job = await this.restore(id, version === null ? undefined : Number(version));
        if (job) restored.push(job);
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        log(`${messageOf(error)}; it is left out`);
      }
    }
    return restored;
  }
}
