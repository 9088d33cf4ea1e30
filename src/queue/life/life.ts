/**
 * The life of jobs: everything that changes one. BullMQ has no `cancelled` or `paused`, so the record's status is the
 * truth and an entry in BullMQ only hands the job to a worker.
 */
import type { Redis } from "ioredis";
import type { Job, JobSpecs } from "../../schema/job.ts";
import { type ActionName, actions, allowedFrom, finalStatuses, type JobStatus, type Moves } from "../../schema/life.ts";
import { StoreError } from "../../store/errors.ts";
import { keys } from "../keys.ts";
import type { Changed } from "../lua/scripts.ts";
import type { Archive } from "../records/archive.ts";
import { type Change, changeRecord, type Fields, type JobRecord, noAttempts, removeRecord } from "../records/record.ts";
import type { Records } from "../records/records.ts";
import type { Entries } from "./entries.ts";

/** The job's status does not allow the request. */
export class ConflictError extends Error {
  override name = "ConflictError";
  constructor(
    readonly status: JobStatus,
    message: string,
  ) {
    super(message);
  }
}

/** Longer than any save of a job takes. */
const DELETED_SECONDS = 3600;

const isFinal = (status: JobStatus): boolean => finalStatuses.includes(status);

export class Life {
  constructor(
    private readonly redis: Redis,
    private readonly archive: Archive,
    private readonly records: Records,
    private readonly entries: Entries,
    private readonly log: (message: string) => void,
  ) {}

  /**
   * Changes a record once, and saves it to the store.
   *
   * @throws Error where Redis has no such record.
   */
  async change(id: string, change: Change): Promise<Changed> {
    const outcome = await changeRecord(this.redis, id, change);
    if (outcome.changed && change.event.type !== "progress") await this.save(id);
    return outcome;
  }

  /** Saves a record. Where the store is unreachable or full, logs that; housekeeping saves the record later. */
  async save(id: string): Promise<void> {
    try {
      await this.archive.save(id);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.log(`job ${id} could not be saved and will be later: ${error.message}`);
    }
  }

  /**
   * Changes the status, if it is one of those in `moves`. The end of a job releases or fails those that wait for it.
   *
   * @param more - `reason` is reported with the event; `entry` and `freshEntry` as in `Change`.
   * @throws Error where Redis has no such record.
   */
  async move(
    id: string,
    moves: Moves,
    fields: Fields = {},
    more: Pick<Change, "entry" | "freshEntry"> & { reason?: string } = {},
  ): Promise<Changed> {
    const { reason, ...rest } = more;
    const event = { type: "status" as const, data: { ...(reason && { reason }) } };
    const outcome = await this.change(id, { moves, fields, event, ...rest });
    if (outcome.changed && isFinal(outcome.after)) {
      await this.releaseDependents((await this.records.read(id)) as JobRecord);
      await this.archive.trim();
    }
    return outcome;
  }

  /** Registers a job as waiting for its source, and releases it at once where the source has finished already. */
  async awaitSource(id: string, source: string): Promise<void> {
    await this.redis.sadd(keys.dependents(source), id);
    await this.releaseIfFinished(source);
  }

  /** Queues the jobs that wait for a finished one, or fails them where it did not succeed. Idempotent. */
  async releaseDependents(source: Pick<JobRecord, "id" | "status">): Promise<void> {
    for (const id of await this.redis.smembers(keys.dependents(source.id))) {
      if (source.status === "succeeded") {
        await this.move(id, { waiting: "queued" });
        await this.entries.add(id);
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

  private async releaseIfFinished(id: string): Promise<void> {
    const source = await this.records.read(id);
    if (source && isFinal(source.status)) await this.releaseDependents(source);
  }

  /**
   * Pauses, resumes, cancels or retries a job. Repeating a request is no error.
   *
   * @returns The job after the request; undefined where it does not exist.
   * @throws ConflictError where its status, or that of its source, does not allow the request.
   */
  async act(id: string, name: ActionName): Promise<Job | undefined> {
    const record = await this.revive(id);
    if (!record) return undefined;
    const source = "from" in record.spec ? await this.records.read(record.spec.from) : undefined;
    const waits = source !== undefined && !isFinal(source.status);
    if (source && !waits && source.status !== "succeeded" && (name === "retry" || name === "resume")) {
      throw new ConflictError(record.status, `the job that it works on, ${source.id}, is ${source.status}`);
    }
    const queued: JobStatus = waits ? "waiting" : "queued";
    const moves = Object.fromEntries(
      Object.entries(actions[name].moves).map(([from, to]) => [from, to === "queued" ? queued : to]),
    ) as Moves;
    if (waits && source) await this.redis.sadd(keys.dependents(source.id), id);
    const reset: Fields =
      name === "retry" ? { error: null, result: null, attempts: noAttempts, retryAt: null } : { retryAt: null };
    const freshEntry = name === "resume" || name === "retry";
    const { before, after, changed } = await this.moveEntry(record, moves, reset, freshEntry);
    if (!changed && !(actions[name].already as readonly JobStatus[]).includes(before)) {
      const allowed = allowedFrom(name).join(", ");
      throw new ConflictError(before, `the job is ${before}; ${name} is for jobs that are ${allowed}`);
    }
    if (changed && (after === "cancelling" || after === "pausing")) await this.entries.notify(id);
    // The source may have finished between its read and the change.
    if (waits && source) await this.releaseIfFinished(source.id);
    return this.records.get(id);
  }

  /** Changes the status, and adds or removes the job's entry accordingly. */
  private async moveEntry(record: JobRecord, moves: Moves, fields: Fields, freshEntry: boolean): Promise<Changed> {
    const { id } = record;
    // A job that a worker is still pausing keeps its entry: the worker continues with it.
    const held = record.status === "pausing";
    const outcome = await this.move(id, moves, fields, { freshEntry: freshEntry && !held });
    if (!outcome.changed) return outcome;
    if (outcome.after === "queued") await this.entries.add(id);
    else if (outcome.before === "queued") await this.entries.remove(record);
    return outcome;
  }

  /**
   * Queues a finished run again, to be trained for more epochs.
   *
   * @param spec - The spec of the run with the new number of epochs.
   * @returns The job after the request; undefined where it does not exist.
   * @throws ConflictError where the run has not succeeded.
   */
  async extend(id: string, spec: JobSpecs["pretrain"]): Promise<Job | undefined> {
    const record = await this.revive(id);
    if (!record) return undefined;
    const repeated = (record.spec as JobSpecs["pretrain"]).epochs === spec.epochs;
    if (repeated && (record.status === "queued" || record.status === "running")) return this.records.get(id);
    const fields = { spec, result: null, error: null, attempts: noAttempts, progress: null };
    const { before, changed } = await this.moveEntry(record, { succeeded: "queued" }, fields, true);
    if (!changed) throw new ConflictError(before, `the job is ${before}; extend is for jobs that are succeeded`);
    return this.records.get(id);
  }

  /** Reads a record that is going to be changed; an evicted one is brought back to Redis first. */
  private async revive(id: string): Promise<JobRecord | undefined> {
    await this.archive.revive(id);
    const record = await this.records.read(id);
    if (!record) await this.archive.unmark(id);
    return record;
  }

  /**
   * Deletes a finished job from Redis and from the store.
   *
   * @returns False where there is no such job.
   * @throws ConflictError where it has not finished, or an unfinished job uses its encoder.
   */
  async remove(id: string): Promise<boolean> {
    const record = await this.revive(id);
    if (!record) return false;
    if (!isFinal(record.status)) {
      throw new ConflictError(record.status, `the job is ${record.status}; cancel it before it is deleted`);
    }
    for (const user of await this.records.users(id)) {
      const job = await this.records.read(user);
      if (job && !isFinal(job.status)) {
        throw new ConflictError(record.status, `job ${user} works on this one and is ${job.status}`);
      }
    }
    await this.redis.set(keys.deleted(id), "1", "EX", DELETED_SECONDS);
    // The record last: a job that is only half deleted can be deleted again.
    await this.records.run(id).removeAll();
    await removeRecord(this.redis, record);
    return true;
  }
}
