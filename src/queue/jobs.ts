/**
 * Jobs: Redis holds the record of each (a hash), its events (a capped stream) and the BullMQ queue that hands it to a
 * worker; the store holds the same for good. BullMQ has no `cancelled` or `paused`, so the status is ours and the record
 * is the truth.
 */
import type { Queue } from "bullmq";
import type { Redis } from "ioredis";
import type { Job, JobSpecs } from "../schema/job.ts";
import { type ActionName, actions, allowedFrom, finalStatuses, type JobStatus, type Moves } from "../schema/life.ts";
import type { Blobs } from "../store/blobs.ts";
import { StoreError } from "../store/errors.ts";
import type { RunStore } from "../store/run_store.ts";
import { Fleet } from "./housekeeping/fleet.ts";
import { CONTROL_CHANNEL, keys, QUEUES, type QueueName } from "./keys.ts";
import type { Changed } from "./lua/scripts.ts";
import { openQueue } from "./open_queue.ts";
import { Archive } from "./records/archive.ts";
import { type Filter, page } from "./records/list.ts";
import {
  type Change,
  changeRecord,
  decodeRecord,
  type Fields,
  type JobEvent,
  type JobRecord,
  noAttempts,
  publicJob,
  removeRecord,
} from "./records/record.ts";

/** What was asked for does not fit the status that the job has. */
export class ConflictError extends Error {
  override name = "ConflictError";
  constructor(
    readonly status: JobStatus,
    message: string,
  ) {
    super(message);
  }
}

/** Of the highest priority in BullMQ, where the lower number goes first. */
const HIGHEST = 1000;
/** For longer than anybody takes to save a job. */
const DELETED_SECONDS = 3600;
/** Finished jobs whose records stay in Redis, unless told otherwise. */
const KEPT = 500;

export class Jobs {
  readonly archive: Archive;
  readonly fleet: Fleet;
  private readonly queues: Record<QueueName, Queue<{ runId: string }>>;

  constructor(
    readonly redis: Redis,
    blobs: Blobs,
    private readonly log: (message: string) => void,
    kept = KEPT,
  ) {
    this.archive = new Archive(redis, blobs, kept);
    this.fleet = new Fleet(redis);
    const open = (name: QueueName) => openQueue<{ runId: string }>(QUEUES[name], redis);
    this.queues = { any: open("any"), webgpu: open("webgpu") };
  }

  run(id: string): RunStore {
    return this.archive.run(id);
  }

  /** Hands the job's entry to BullMQ, at its own place among those of its priority. Safe to repeat. */
  async enqueue(id: string): Promise<void> {
    const record = await this.record(id);
    if (record?.status !== "queued") return;
    const { entry, queue, type, priority } = record;
    await this.queues[queue].add(
      type,
      { runId: id },
      { jobId: entry, priority: HIGHEST + 1 - priority, removeOnComplete: true, removeOnFail: true },
    );
    const place = record.place || (await this.redis.zscore(keys.prioritized(queue), entry));
    if (!place) return; // taken at once
    if (record.place) await this.redis.zadd(keys.prioritized(queue), "XX", place, entry);
    else await this.redis.hset(keys.run(id), "place", place);
  }

  /** The record in Redis, else what the store has. */
  async record(id: string): Promise<JobRecord | undefined> {
    const record = decodeRecord(await this.redis.hgetall(keys.run(id)));
    if (record) return record;
    const stored = await this.archive.load(id);
    return stored && { ...stored, waitingFor: null, position: null };
  }

  async get(id: string): Promise<Job | undefined> {
    const record = await this.record(id);
    return record && (await this.described([record]))[0];
  }

  /** A page of jobs. Throws UserError where its cursor is none. */
  async list(filter: Filter): Promise<{ jobs: Job[]; next: string | null }> {
    const { ids, next } = await page(this.redis, filter);
    return { jobs: (await this.many(ids)).filter((job) => job !== undefined), next };
  }

  /** Jobs by their ids; undefined where there is none. */
  async many(ids: readonly string[]): Promise<(Job | undefined)[]> {
    if (ids.length === 0) return [];
    const pipeline = this.redis.pipeline();
    for (const id of ids) pipeline.hgetall(keys.run(id));
    const answers = (await pipeline.exec()) ?? [];
    const records = await Promise.all(
      answers.map(([error, hash], i) => {
        if (error) throw error;
        // Trimmed ones are in the index alone.
        return decodeRecord(hash as Record<string, string>) ?? this.record(ids[i] as string);
      }),
    );
    const described = await this.described(records.filter((record) => record !== undefined));
    const byId = new Map(described.map((job) => [job.id, job]));
    return ids.map((id) => byId.get(id));
  }

  /** Everything that was said of a job but its progress, oldest first. */
  async history(id: string): Promise<JobEvent[]> {
    const texts = await this.redis.lrange(keys.history(id), 0, -1);
    if (texts.length > 0) return texts.map((text) => JSON.parse(text) as JobEvent);
    return this.run(id).readLines<JobEvent>("history.jsonl");
  }

  /** How many jobs there are of each status. */
  async count(status: JobStatus): Promise<number> {
    return this.redis.zcard(keys.status(status));
  }

  private async described(records: readonly JobRecord[]): Promise<Job[]> {
    const queued = records.filter(({ status }) => status === "queued");
    const workers = queued.length > 0 ? await this.fleet.list() : [];
    const places = await this.places(queued);
    return records.map((record) => {
      const { spec, status, retryAt, queue } = record;
      let waitingFor: string | null = null;
      if (status === "waiting" && "from" in spec) waitingFor = `job ${spec.from}`;
      else if (status === "queued" && retryAt) waitingFor = `the next attempt, at ${retryAt}`;
      else if (status === "queued" && workers.length === 0) waitingFor = "a worker: none is running";
      else if (status === "queued" && queue === "webgpu" && !workers.some(({ webgpu }) => webgpu)) {
        waitingFor = `a worker with WebGPU: none of the ${workers.length} running has a GPU`;
      }
      return { ...publicJob(record), waitingFor, position: places.get(record.id) ?? null };
    });
  }

  /** Places of queued jobs in their queues, from 1; of one that is delayed, or is being taken just now, there is none. */
  private async places(queued: readonly JobRecord[]): Promise<Map<string, number>> {
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

  /** Makes one change to a record, and brings the store up to it. */
  async change(id: string, change: Change): Promise<Changed> {
    const changed = await changeRecord(this.redis, id, change);
    if (changed.changed && change.event.type !== "progress") await this.saveOrLater(id);
    return changed;
  }

  /** A store that is away or full does not undo what has happened: `tend` saves it when it can. */
  async saveOrLater(id: string): Promise<void> {
    try {
      await this.archive.save(id);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.log(`job ${id} could not be saved and will be later: ${error.message}`);
    }
  }

  /** Changes the status, if it is one of those that `moves` knows, and does what follows from it. */
  async move(
    id: string,
    moves: Moves,
    fields: Fields = {},
    more: Pick<Change, "entry" | "freshEntry"> & { reason?: string } = {},
  ): Promise<Changed> {
    const { reason, ...rest } = more;
    const event = { type: "status" as const, data: { ...(reason && { reason }) } };
    const outcome = await this.change(id, { moves, fields, event, ...rest });
    if (outcome.changed && finalStatuses.includes(outcome.after)) {
      await this.releaseDependents((await this.record(id)) as JobRecord);
      await this.archive.trim();
    }
    return outcome;
  }

  /** Lets jobs that wait for this one go on, or fails them where it came to nothing. Safe to repeat. */
  async releaseDependents(source: JobRecord): Promise<void> {
    for (const id of await this.redis.smembers(keys.dependents(source.id))) {
      if (source.status === "succeeded") {
        await this.move(id, { waiting: "queued" });
        await this.enqueue(id);
      } else {
        await this.move(
          id,
          { waiting: "failed" },
          { error: `the job it waits for, ${source.id}, is ${source.status}` },
        );
      }
      await this.redis.srem(keys.dependents(source.id), id);
    }
  }

  /**
   * Pause, resume, cancel or retry. What was asked for already is done already. Undefined where there is no such job;
   * throws ConflictError where the status does not allow it.
   */
  async act(id: string, name: ActionName): Promise<Job | undefined> {
    const record = await this.revive(id);
    if (!record) return undefined;
    const source = "from" in record.spec ? await this.record(record.spec.from) : undefined;
    const waits = source !== undefined && !finalStatuses.includes(source.status);
    if (source && !waits && source.status !== "succeeded" && (name === "retry" || name === "resume")) {
      throw new ConflictError(record.status, `the job that it works on, ${source.id}, is ${source.status}`);
    }
    const queued: JobStatus = waits ? "waiting" : "queued";
    const moves = Object.fromEntries(
      Object.entries(actions[name].moves).map(([from, to]) => [from, to === "queued" ? queued : to]),
    ) as Moves;
    if (waits && source) await this.redis.sadd(keys.dependents(source.id), id);
    const again: Fields =
      name === "retry" ? { error: null, result: null, attempts: noAttempts, retryAt: null } : { retryAt: null };
    const freshEntry = name === "resume" || name === "retry";
    const { before, after, changed } = await this.actOn(record, moves, again, freshEntry);
    if (!changed && !(actions[name].already as readonly JobStatus[]).includes(before)) {
      const allowed = allowedFrom(name).join(", ");
      throw new ConflictError(before, `the job is ${before}; ${name} is for jobs that are ${allowed}`);
    }
    if (changed && (after === "cancelling" || after === "pausing")) {
      await this.redis.publish(CONTROL_CHANNEL, JSON.stringify({ id }));
    }
    // The source may have ended in between.
    const now = source && (await this.record(source.id));
    if (waits && now && finalStatuses.includes(now.status)) await this.releaseDependents(now);
    return this.get(id);
  }

  private async actOn(record: JobRecord, moves: Moves, fields: Fields, freshEntry: boolean): Promise<Changed> {
    const { id } = record;
    // A job that is still in a worker's hands keeps its entry: it is only told to go on.
    const inHand = record.status === "pausing";
    const outcome = await this.move(id, moves, fields, { freshEntry: freshEntry && !inHand });
    if (!outcome.changed) return outcome;
    if (outcome.after === "queued") await this.enqueue(id);
    else if (outcome.before === "queued") await this.queues[record.queue].remove(record.entry);
    return outcome;
  }

  /** Whether this token still holds the lock on the job's entry, and the entry is the one that counts. */
  async holds({ id, queue, entry }: Pick<JobRecord, "id" | "queue" | "entry">, token: string): Promise<boolean> {
    const [lock, current] = await Promise.all([
      this.redis.get(keys.lock(queue, entry)),
      this.redis.hget(keys.run(id), "entry"),
    ]);
    return lock === token && current === entry;
  }

  /** Trains a finished run on to more epochs. Throws ConflictError where it is not finished. */
  async extend(id: string, spec: JobSpecs["pretrain"]): Promise<Job | undefined> {
    const record = await this.revive(id);
    if (!record) return undefined;
    const asked = (record.spec as JobSpecs["pretrain"]).epochs === spec.epochs;
    if (asked && (record.status === "queued" || record.status === "running")) return this.get(id);
    const fields = { spec, result: null, error: null, attempts: noAttempts, progress: null };
    const { before, changed } = await this.actOn(record, { succeeded: "queued" }, fields, true);
    if (!changed) throw new ConflictError(before, `the job is ${before}; extend is for jobs that are succeeded`);
    return this.get(id);
  }

  /**
   * A record to be changed; one that was trimmed is brought back to Redis. As one that is still to be saved it is not trimmed
   * again, by another job that ends just now.
   */
  private async revive(id: string): Promise<JobRecord | undefined> {
    await this.redis.sadd(keys.dirty, id);
    if ((await this.redis.exists(keys.run(id))) === 0) await this.archive.restore(id, undefined);
    const record = await this.record(id);
    if (!record) await this.redis.srem(keys.dirty, id);
    return record;
  }

  /** Of those, the ones whose entry BullMQ does not have. */
  async withoutEntry(ids: readonly string[]): Promise<JobRecord[]> {
    const missing: JobRecord[] = [];
    for (let from = 0; from < ids.length; from += 1000) {
      const some = ids.slice(from, from + 1000);
      const pipeline = this.redis.pipeline();
      for (const id of some) pipeline.hmget(keys.run(id), "entry", "queue");
      const where = ((await pipeline.exec()) ?? []).map(([, found]) => found as [string, QueueName]);
      const second = this.redis.pipeline();
      for (const [entry, queue] of where) second.exists(keys.entry(queue, entry));
      const there = (await second.exec()) ?? [];
      for (const [i, id] of some.entries()) {
        if (there[i]?.[1] !== 0) continue;
        const record = await this.record(id);
        // Changed in between: then it is looked at the next time.
        if (record && record.entry === where[i]?.[0]) missing.push(record);
      }
    }
    return missing;
  }

  /**
   * Removes a job that is over, from Redis and from the store. False where there is no such job; throws ConflictError where
   * it is not over, or another job still needs it.
   */
  async remove(id: string): Promise<boolean> {
    const record = await this.revive(id);
    if (!record) return false;
    if (!finalStatuses.includes(record.status)) {
      throw new ConflictError(record.status, `the job is ${record.status}; cancel it before it is deleted`);
    }
    for (const user of await this.redis.smembers(keys.users(id))) {
      const job = await this.record(user);
      if (job && !finalStatuses.includes(job.status)) {
        throw new ConflictError(record.status, `job ${user} works on this one and is ${job.status}`);
      }
    }
    await this.redis.set(keys.deleted(id), "1", "EX", DELETED_SECONDS);
    // The store last but for Redis's own record: what is half deleted can be deleted again.
    await this.run(id).removeAll();
    await removeRecord(this.redis, record);
    return true;
  }

  async close(): Promise<void> {
    await Promise.all(Object.values(this.queues).map((queue) => queue.close()));
  }
}
