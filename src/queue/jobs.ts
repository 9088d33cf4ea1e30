/**
 * Jobs: Redis holds the record of each (a hash), its events (a capped stream) and the BullMQ queue that hands it to a
 * worker; the store holds the same for good. BullMQ has no `cancelled` or `paused`, so the status is ours and the record
 * is the truth.
 */
import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import type { ForkSource, Job, JobSpecs, JobType } from "../spec/job.ts";
import { type ActionName, actions, allowedFrom, finalStatuses, type JobStatus, type Moves } from "../spec/life.ts";
import { lint } from "../spec/lint.ts";
import type { Blobs } from "../store/blobs.ts";
import { StoreError } from "../store/errors.ts";
import type { RunStore } from "../store/run_store.ts";
import { newRunId } from "../util/id.ts";
import { Archive, type StoredJob } from "./archive.ts";
import { Fleet } from "./fleet.ts";
import { CONTROL_CHANNEL, keys, QUEUES, type QueueName } from "./keys.ts";
import {
  type Change,
  type Changed,
  changeRecord,
  createRecord,
  decodeRecord,
  type Fields,
  JOB_FORMAT,
  type JobEvent,
  type JobRecord,
  noAttempts,
  publicJob,
} from "./records.ts";

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
/** Finished jobs whose records stay in Redis, unless told otherwise. */
const KEPT = 500;

export interface Submission<T extends JobType = JobType> {
  readonly type: T;
  readonly name?: string | null;
  readonly spec: JobSpecs[T];
  readonly priority?: number;
  readonly forked?: ForkSource | null;
  /** Fills the run's folder before anyone can see the job. */
  readonly fill?: (run: RunStore) => Promise<unknown>;
}

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
    const open = (name: QueueName) => {
      const queue = new Queue<{ runId: string }>(QUEUES[name], { connection: redis });
      queue.on("error", () => undefined); // the connection retries; see redis.ts
      return queue;
    };
    this.queues = { any: open("any"), webgpu: open("webgpu") };
  }

  run(id: string): RunStore {
    return this.archive.run(id);
  }

  /** Accepts a job with a valid spec: it is in the store when this resolves. A job on an unfinished run waits for it. */
  async submit<T extends JobType>(submission: Submission<T>): Promise<Job> {
    const { type, name = null, spec, priority = 0, forked = null, fill } = submission;
    const awaited = "from" in spec ? spec.from : undefined;
    const record = this.blank({ type, name, spec, priority, forked, status: awaited ? "waiting" : "queued" });
    record.warnings = type === "pretrain" ? lint(spec as JobSpecs["pretrain"]).map(({ message }) => message) : [];
    const source = awaited ? await this.record(awaited) : undefined;
    record.queue = this.queueFor(source ? source.spec : spec);
    await this.create(record, fill);
    if (source) {
      await this.redis.sadd(keys.dependents(source.id), record.id);
      const now = await this.record(source.id);
      if (now && finalStatuses.includes(now.status)) await this.releaseDependents(now);
    } else {
      await this.enqueue(record.id);
    }
    return (await this.get(record.id)) as Job;
  }

  /** Puts a run that was pretrained elsewhere among the finished ones. `fill` writes its checkpoint. */
  async adopt(
    name: string,
    spec: JobSpecs["pretrain"],
    epochs: number,
    fill: (run: RunStore) => Promise<unknown>,
  ): Promise<Job> {
    const record = this.blank({ type: "pretrain", name, spec, priority: 0, forked: null, status: "succeeded" });
    record.startedAt = record.createdAt;
    record.finishedAt = record.createdAt;
    await this.create(record, async (run) => {
      const checkpoint = await fill(run);
      record.result = { imported: true, epochs, checkpoint };
      await run.finish(record.result);
    });
    return (await this.get(record.id)) as Job;
  }

  private blank(of: Pick<StoredJob, "type" | "name" | "spec" | "priority" | "forked" | "status">): StoredJob {
    const id = newRunId();
    return {
      ...{ id, warnings: [], result: null, error: null },
      ...{ createdAt: new Date().toISOString(), startedAt: null, finishedAt: null, retryAt: null },
      ...{ format: JOB_FORMAT, version: 1, generation: 1, entry: `${id}_1`, queue: "any", place: "" },
      attempts: noAttempts,
      ...of,
    };
  }

  /** The store first: what Redis knows and the store does not would be lost with Redis. */
  private async create(record: StoredJob, fill?: (run: RunStore) => Promise<unknown>): Promise<void> {
    await fill?.(this.run(record.id));
    const history: JobEvent[] = [
      { id: `${Date.parse(record.createdAt)}-0`, type: "status", data: { status: record.status } },
    ];
    await this.archive.write(record, history);
    await createRecord(this.redis, record, history);
  }

  private queueFor(spec: JobSpecs[JobType]): QueueName {
    return "device" in spec && spec.device === "webgpu" ? "webgpu" : "any";
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
    return stored && { ...stored, progress: null, waitingFor: null };
  }

  async get(id: string): Promise<Job | undefined> {
    const record = await this.record(id);
    return record && (await this.described([record]))[0];
  }

  /** Newest first. */
  async list(limit: number): Promise<Job[]> {
    const ids = await this.redis.zrevrange(keys.index, 0, limit - 1);
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
    return this.described(records.filter((record) => record !== undefined));
  }

  /** How many jobs there are of each status. */
  async count(status: JobStatus): Promise<number> {
    return this.redis.zcard(keys.status(status));
  }

  private async described(records: readonly JobRecord[]): Promise<Job[]> {
    const queued = records.some(({ status }) => status === "queued");
    const workers = queued ? await this.fleet.list() : [];
    return records.map((record) => {
      const { spec, status, retryAt, queue } = record;
      let waitingFor: string | null = null;
      if (status === "waiting" && "from" in spec) waitingFor = `job ${spec.from}`;
      else if (status === "queued" && retryAt) waitingFor = `the next attempt, at ${retryAt}`;
      else if (status === "queued" && workers.length === 0) waitingFor = "a worker: none is running";
      else if (status === "queued" && queue === "webgpu" && !workers.some(({ webgpu }) => webgpu)) {
        waitingFor = `a worker with WebGPU: none of the ${workers.length} running has a GPU`;
      }
      return { ...publicJob(record), waitingFor };
    });
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
    if (changed && (after === "cancelling" || after === "pausing")) await this.nudge(id);
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

  nudge(id: string): Promise<number> {
    return this.redis.publish(CONTROL_CHANNEL, JSON.stringify({ id }));
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

  /** A job whose record was trimmed is brought back to Redis, to be changed. */
  private async revive(id: string): Promise<JobRecord | undefined> {
    if ((await this.redis.exists(keys.run(id))) === 0) {
      await this.archive.restore(id, undefined);
    }
    return this.record(id);
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

  async close(): Promise<void> {
    await Promise.all(Object.values(this.queues).map((queue) => queue.close()));
  }
}
