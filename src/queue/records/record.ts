/** The record of a job in Redis: its fields, its encoding, and the only functions that create, change and remove it. */
import type { ChainableCommander, Redis } from "ioredis";
import type { ForkSource, Job, JobSpecs, JobType, PipelineMember, Progress } from "../../schema/job.ts";
import { finalStatuses, type JobStatus, type Moves } from "../../schema/life.ts";
import { keys, type QueueName } from "../keys.ts";
import { type Changed, changeScript, evaluate } from "../lua/scripts.ts";

/** Version of the format of records and of job.json. Workers leave newer formats to newer workers. */
export const JOB_FORMAT = 1;

/** Failures of a job so far; `judgeFailure` in workers/backoff.ts decides by them. */
export interface Attempts {
  /** Consecutive failures without progress. */
  futile: number;
  /** Furthest step that any attempt reached. */
  furthest: number;
  /** Failures of a GPU. */
  device: number;
  /** Consecutive failures because the store was unreachable or full. */
  store: number;
}
export const noAttempts: Attempts = { futile: 0, furthest: -1, device: 0, store: 0 };

/** A job with the fields that only the queue needs. */
export interface JobRecord extends Job {
  format: number;
  /** Number of changes; progress does not count as one. */
  version: number;
  /** Number of entries that the job has had. */
  generation: number;
  /** Id of its current entry in BullMQ; earlier ones are ignored. */
  entry: string;
  queue: QueueName;
  /** BullMQ's score of the first entry: the place in the queue that later entries of the job get as well. */
  place: string;
  attempts: Attempts;
  /** Time of the next attempt, ISO 8601. */
  retryAt: string | null;
  /** SHA-256 of the request that created the job, where it had an Idempotency-Key. */
  request: string | null;
}

export interface JobEvent {
  /** Id of the entry in the stream of events. */
  id: string;
  type: "status" | "progress" | "log" | "warnings";
  data: unknown;
}

/** Fields to change; null clears a field. */
export type Fields = Partial<Omit<JobRecord, "id" | "status" | "finishedAt" | "version" | "generation" | "entry">>;

/** Fields that the hash holds as text; all others are JSON. */
const texts = new Set([
  "id",
  "type",
  "name",
  "status",
  "error",
  "createdAt",
  "startedAt",
  "finishedAt",
  "entry",
  "queue",
  "place",
  "retryAt",
  "request",
]);

const encode = (name: string, value: unknown): string =>
  value === null || value === undefined ? "" : texts.has(name) ? String(value) : JSON.stringify(value);

/** Encodes fields for HSET: name, value, name, value … */
const flatten = (fields: object): string[] =>
  Object.entries(fields).flatMap(([name, value]) => [name, encode(name, value)]);

/** Decodes a record; undefined for the empty hash of one that does not exist. */
export function decodeRecord(hash: Record<string, string>): JobRecord | undefined {
  if (!hash.id) return undefined;
  const parse = (name: string): unknown => (hash[name] ? JSON.parse(hash[name]) : null);
  return {
    id: hash.id,
    type: hash.type as JobType,
    name: hash.name || null,
    status: hash.status as JobStatus,
    priority: (parse("priority") as number | null) ?? 0,
    waitingFor: null,
    position: null,
    forked: parse("forked") as ForkSource | null,
    pipeline: parse("pipeline") as PipelineMember | null,
    metadata: (parse("metadata") as Record<string, string> | null) ?? {},
    request: hash.request || null,
    progress: parse("progress") as Progress | null,
    spec: parse("spec") as JobSpecs[JobType],
    warnings: (parse("warnings") as string[] | null) ?? [],
    result: parse("result"),
    error: hash.error || null,
    createdAt: hash.createdAt as string,
    startedAt: hash.startedAt || null,
    finishedAt: hash.finishedAt || null,
    format: (parse("format") as number | null) ?? JOB_FORMAT,
    version: Number(hash.version ?? 0),
    generation: Number(hash.generation ?? 0),
    entry: hash.entry ?? "",
    queue: (hash.queue as QueueName | undefined) ?? "any",
    place: hash.place ?? "",
    attempts: (parse("attempts") as Attempts | null) ?? noAttempts,
    retryAt: hash.retryAt || null,
  };
}

/** Leaves out the fields that only the queue needs. */
export function publicJob(record: JobRecord): Job {
  const { format, version, generation, entry, queue, place, attempts, retryAt, request, ...job } = record;
  return job;
}

export interface Change {
  /** Status before -> after; undefined: the status stays, whatever it is. */
  readonly moves?: Moves;
  readonly fields?: Fields;
  readonly event: Omit<JobEvent, "id">;
  /** Makes the change only if this is the job's current entry. */
  readonly entry?: string;
  /** Gives the job a new entry; earlier ones are ignored from then on. */
  readonly freshEntry?: boolean;
}

/**
 * Changes a record in one atomic step.
 *
 * @throws Error where Redis has no such record.
 */
export async function changeRecord(redis: Redis, id: string, change: Change): Promise<Changed> {
  const { moves, fields = {}, event, entry, freshEntry = false } = change;
  const script = changeScript({ id, moves, fields: flatten(fields), event, entry, freshEntry, now: new Date() });
  const changed = await evaluate(redis, script);
  if (!changed) throw new Error(`job ${id} is not in Redis`);
  return changed;
}

/** The fields that lists filter by. They never change, and stay in Redis when the record is evicted. */
export interface Brief {
  type: JobType;
  name?: string;
  metadata?: Record<string, string>;
  /** Id of the pipeline that the job is part of. */
  pipeline?: string;
  /** Id of the run whose encoder the job uses. */
  from?: string;
}

function briefOf(record: Pick<JobRecord, "type" | "name" | "metadata" | "pipeline" | "spec">): Brief {
  const { type, name, metadata, pipeline, spec } = record;
  return {
    type,
    ...(name !== null && { name }),
    ...(Object.keys(metadata).length > 0 && { metadata }),
    ...(pipeline && { pipeline: pipeline.id }),
    ...("from" in spec && { from: spec.from }),
  };
}

/** Runs a transaction; throws the first error of its commands. */
async function commit(transaction: ChainableCommander): Promise<void> {
  const failed = (await transaction.exec())?.find(([error]) => error);
  if (failed?.[0]) throw failed[0];
}

/** Removes every trace of a job from Redis. */
export async function removeRecord(redis: Redis, { id, status, spec }: JobRecord): Promise<void> {
  const transaction = redis.multi();
  transaction.del(keys.run(id), keys.events(id), keys.history(id), keys.dependents(id), keys.users(id));
  for (const index of [keys.index, keys.status(status), keys.finished]) transaction.zrem(index, id);
  transaction.srem(keys.dirty, id);
  transaction.hdel(keys.briefs, id);
  if ("from" in spec) transaction.srem(keys.users(spec.from), id);
  await commit(transaction);
}

/** Creates a record with its history and its places in the indices, replacing an existing one. */
export async function createRecord(
  redis: Redis,
  record: Omit<JobRecord, "waitingFor" | "position">,
  history: readonly JobEvent[],
): Promise<void> {
  const { id, status, createdAt, finishedAt } = record;
  const score = Date.parse(createdAt);
  const transaction = redis.multi();
  transaction.del(keys.run(id), keys.events(id), keys.history(id));
  transaction.hset(keys.run(id), ...flatten(record));
  for (const { id: at, type, data } of history) {
    transaction.xadd(keys.events(id), at, "type", type, "data", JSON.stringify(data));
    transaction.rpush(keys.history(id), JSON.stringify({ id: at, type, data }));
  }
  transaction.zadd(keys.index, score, id);
  transaction.hset(keys.briefs, id, JSON.stringify(briefOf(record)));
  if ("from" in record.spec) transaction.sadd(keys.users(record.spec.from), id);
  transaction.zadd(keys.status(status), score, id);
  if (finalStatuses.includes(status)) transaction.zadd(keys.finished, Date.parse(finishedAt ?? createdAt), id);
  await commit(transaction);
}
