/** Jobs between Redis and the store: saved after every change, found again after Redis forgot them. */
import type { Redis } from "ioredis";
import { atRest, finalStatuses, type Moves } from "../../schema/life.ts";
import type { Blobs } from "../../store/blobs.ts";
import { RUNS, RunStore } from "../../store/run_store.ts";
import { messageOf, UserError } from "../../util/errors.ts";
import { keys } from "../keys.ts";
import { cleanScript, evaluate, forgetScript } from "../lua/scripts.ts";
import { createRecord, decodeRecord, JOB_FORMAT, type JobEvent, type JobRecord, noAttempts } from "./record.ts";

/** job.json: a record without what passes. Its progress is that of a job that is over, else null. */
export type StoredJob = Omit<JobRecord, "waitingFor" | "position">;

const RUN_ID = /^run_[0-9a-z]{1,40}$/;

export class Archive {
  constructor(
    private readonly redis: Redis,
    readonly blobs: Blobs,
    /** Finished jobs whose records stay in Redis. */
    private readonly kept: number,
  ) {}

  run(id: string): RunStore {
    return new RunStore(this.blobs, id);
  }

  /** Undefined where the store has no such job. Throws UserError where its file is damaged or of a newer version. */
  async load(id: string): Promise<StoredJob | undefined> {
    if (!RUN_ID.test(id)) return undefined;
    const job = await this.run(id).readJson<StoredJob>("job.json");
    if (!job) return undefined;
    if ((job.format ?? 0) > JOB_FORMAT) {
      throw new UserError(`job ${id}: format ${job.format} is of a newer mocod; this one knows up to ${JOB_FORMAT}`);
    }
    // Files of before there was a format have no more than the job itself.
    const queue = { format: JOB_FORMAT, version: 0, generation: 0, entry: "", queue: "any" as const, place: "" };
    const blank = {
      error: null,
      result: null,
      warnings: [],
      startedAt: null,
      finishedAt: null,
      status: "queued" as const,
    };
    return {
      ...blank,
      ...queue,
      ...{
        priority: 0,
        forked: null,
        pipeline: null,
        metadata: {},
        attempts: noAttempts,
        retryAt: null,
        request: null,
        progress: null,
      },
      ...job,
    };
  }

  async write(job: StoredJob, history: readonly JobEvent[]): Promise<void> {
    const run = this.run(job.id);
    await run.writeLines("history.jsonl", history);
    await run.writeJson("job.json", job);
  }

  /** Brings the store up to the record, however often that changes meanwhile. */
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
      if (outcome === "deleted") await this.run(id).removeAll(); // what was written just now would be found again
      if (outcome !== "newer") return;
    }
  }

  /** Takes the oldest finished jobs out of Redis; they stay in its index and are read from the store. */
  async trim(): Promise<void> {
    const old = await this.redis.zrange(keys.finished, 0, `${-(this.kept + 1)}`);
    for (const id of old) await evaluate(this.redis, forgetScript(id));
  }

  /**
   * Puts a job back into Redis, where the store has a later version of it than Redis (undefined: Redis has none). Returns
   * it, or undefined where there was no need.
   */
  async restore(id: string, version: number | undefined): Promise<StoredJob | undefined> {
    const job = await this.load(id);
    if (!job || (version !== undefined && version >= job.version)) return undefined;
    const status = (atRest as Moves)[job.status] ?? job.status;
    const finishedAt = finalStatuses.includes(status) ? (job.finishedAt ?? new Date().toISOString()) : null;
    // The entries of before are gone, and one that is not must not count.
    const generation = job.generation + 1;
    const restored = { ...job, status, finishedAt, generation, entry: `${id}_${generation}`, place: "" };
    await createRecord(this.redis, restored, await this.run(id).readLines<JobEvent>("history.jsonl"));
    if (status === "waiting" && "from" in job.spec) await this.redis.sadd(keys.dependents(job.spec.from), id);
    return restored;
  }

  /** Re-creates what Redis does not know, or knows less of, from the store alone. Oldest first. */
  async rebuild(log: (message: string) => void): Promise<StoredJob[]> {
    const restored: StoredJob[] = [];
    for (const id of await this.blobs.folders(RUNS)) {
      const [score, version] = await Promise.all([
        this.redis.zscore(keys.index, id),
        this.redis.hget(keys.run(id), "version"),
      ]);
      // In the index and without a record: finished, and trimmed.
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
