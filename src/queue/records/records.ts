/** Reads of jobs: from Redis, and for records that were evicted from it, from the store. */
import type { Redis } from "ioredis";
import type { Job } from "../../schema/job.ts";
import type { JobStatus } from "../../schema/life.ts";
import type { RunStore } from "../../store/run_store.ts";
import type { Fleet, WorkerInfo } from "../fleet.ts";
import { keys } from "../keys.ts";
import type { Archive } from "./archive.ts";
import { type Filter, page } from "./list.ts";
import { decodeRecord, type JobEvent, type JobRecord, publicJob } from "./record.ts";

export class Records {
  constructor(
    private readonly redis: Redis,
    private readonly archive: Archive,
    private readonly fleet: Fleet,
  ) {}

  /** The folder of a job in the store. */
  run(id: string): RunStore {
    return this.archive.run(id);
  }

  /** Reads a record from Redis, else from the store; undefined where neither has it. */
  async read(id: string): Promise<JobRecord | undefined> {
    const record = decodeRecord(await this.redis.hgetall(keys.run(id)));
    if (record) return record;
    const stored = await this.archive.load(id);
    return stored && { ...stored, waitingFor: null, position: null };
  }

  /** Reads a job as clients see it; undefined where there is none. */
  async get(id: string): Promise<Job | undefined> {
    const record = await this.read(id);
    return record && (await this.described([record]))[0];
  }

  /** Reads jobs by their ids; undefined in the place of a job that does not exist. */
  async many(ids: readonly string[]): Promise<(Job | undefined)[]> {
    if (ids.length === 0) return [];
    const pipeline = this.redis.pipeline();
    for (const id of ids) pipeline.hgetall(keys.run(id));
    const answers = (await pipeline.exec()) ?? [];
    const records = await Promise.all(
      answers.map(([error, hash], i) => {
        if (error) throw error;
        // An evicted record is only in the index.
        return decodeRecord(hash as Record<string, string>) ?? this.read(ids[i] as string);
      }),
    );
    const described = await this.described(records.filter((record) => record !== undefined));
    const byId = new Map(described.map((job) => [job.id, job]));
    return ids.map((id) => byId.get(id));
  }

  /**
   * Reads a page of jobs.
   *
   * @throws UserError where `filter.after` is not the cursor of a page.
   */
  async list(filter: Filter): Promise<{ jobs: Job[]; next: string | null }> {
    const { ids, next } = await page(this.redis, filter);
    return { jobs: (await this.many(ids)).filter((job) => job !== undefined), next };
  }

  /** Reads every event of a job except progress, oldest first. */
  async history(id: string): Promise<JobEvent[]> {
    const texts = await this.redis.lrange(keys.history(id), 0, -1);
    if (texts.length > 0) return texts.map((text) => JSON.parse(text) as JobEvent);
    return this.run(id).readLines<JobEvent>("history.jsonl");
  }

  /** Reads the status in Redis; undefined where Redis has no record. */
  async status(id: string): Promise<JobStatus | undefined> {
    return ((await this.redis.hget(keys.run(id), "status")) as JobStatus | null) ?? undefined;
  }

  /** Counts the jobs of a status. */
  count(status: JobStatus): Promise<number> {
    return this.redis.zcard(keys.status(status));
  }

  /** Lists the ids of the jobs of a status, oldest first. */
  ids(status: JobStatus): Promise<string[]> {
    return this.redis.zrange(keys.status(status), 0, "-1");
  }

  /** Lists the ids of all jobs on the encoder of a run. */
  users(id: string): Promise<string[]> {
    return this.redis.smembers(keys.users(id));
  }

  private async described(records: readonly JobRecord[]): Promise<Job[]> {
    const queued = records.filter(({ status }) => status === "queued");
    const workers = queued.length > 0 ? await this.fleet.list() : [];
    const positions = await this.positions(queued);
    return records.map((record) => ({
      ...publicJob(record),
      waitingFor: waitingFor(record, workers),
      position: positions.get(record.id) ?? null,
    }));
  }

  /** Positions of queued jobs in their queues, from 1. A job that is delayed or being taken by a worker has none. */
  private async positions(queued: readonly JobRecord[]): Promise<Map<string, number>> {
    if (queued.length === 0) return new Map();
    const pipeline = this.redis.pipeline();
    for (const { queue, entry } of queued) pipeline.zrank(keys.prioritized(queue), entry);
    const ranks = (await pipeline.exec()) ?? [];
    return new Map(
      queued.flatMap(({ id }, i): [string, number][] => {
        const rank = ranks[i]?.[1];
        return typeof rank === "number" ? [[id, rank + 1]] : [];
      }),
    );
  }
}

/** Why a job does not run yet, where its status alone does not say so. */
function waitingFor({ spec, status, retryAt, queue }: JobRecord, workers: readonly WorkerInfo[]): string | null {
  if (status === "waiting" && "from" in spec) return `job ${spec.from}`;
  if (status !== "queued") return null;
  if (retryAt) return `the next attempt, at ${retryAt}`;
  if (workers.length === 0) return "a worker: none is running";
  if (queue === "webgpu" && !workers.some(({ webgpu }) => webgpu)) {
    return `a worker with WebGPU: none of the ${workers.length} running has a GPU`;
  }
  return null;
}
