/** The record of a job in Redis, and the one way in which it is changed. */
import type { ChainableCommander, Redis } from "ioredis";
import type { ForkSource, Job, JobSpecs, JobType, PipelineMember, Progress } from "../../schema/job.ts";
import { finalStatuses, type JobStatus, type Moves } from "../../schema/life.ts";
import { keys, type QueueName } from "../keys.ts";
import { type Changed, changeScript, evaluate } from "../lua/scripts.ts";

/** Of records and of job.json. One that is newer is left to newer workers. */
export const JOB_FORMAT = 1;

/** What attempts of a job have come to. */
export interface Attempts {
  /** Failures one after another without a step forward. */
  futile: number;
  /** Furthest step of any of them. */
  furthest: number;
  /** Times that a GPU has failed it. */
  device: number;
  /** Times one after another that the store was away or full. */
  store: number;
}
export const noAttempts: Attempts = { futile: 0, furthest: -1, device: 0, store: 0 };

/** A job with what only the queue needs to know of it. */
export interface JobRecord extends Job {
  format: number;
  /** Counts the changes; progress is none. */
  version: number;
  /** Counts the times it was put into the queue. */
  generation: number;
  /** Its entry in BullMQ that counts; any other is of an earlier time. */
  entry: string;
  queue: QueueName;
  /** BullMQ's score of its first entry: its place among those of its priority. */
  place: string;
  attempts: Attempts;
  /** When the next attempt is made, ISO 8601. */
  retryAt: string | null;
  /** SHA-256 of the request that it was accepted by, where that had an Idempotency-Key. */
  request: string | null;
}

export interface JobEvent {
  /** The stream's own id of the entry. */
  id: string;
  type: "status" | "progress" | "log" | "warnings";
  data: unknown;
}

/** A field that is null is removed. */
export type Fields = Partial<Omit<JobRecord, "id" | "status" | "finishedAt" | "version" | "generation" | "entry">>;

const texts = new Set(["id", "type", "name", "status", "error", "createdAt", "startedAt", "finishedAt"]);
for (const name of ["entry", "queue", "place", "retryAt", "request"]) texts.add(name);

const encode = (name: string, value: unknown): string =>
  value === null || value === undefined ? "" : texts.has(name) ? String(value) : JSON.stringify(value);

export const flatten = (fields: object): string[] =>
  Object.entries(fields).flatMap(([name, value]) => [name, encode(name, value)]);

/** Undefined for a record that is not there. */
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

/** What others see of it. */
export function publicJob(record: JobRecord): Job {
  const { format, version, generation, entry, queue, place, attempts, retryAt, request, ...job } = record;
  return job;
}

export interface Change {
  /** Status before -> after; undefined: whatever it is, it stays. */
  readonly moves?: Moves;
  readonly fields?: Fields;
  readonly event: Omit<JobEvent, "id">;
  /** The change is made only while this is the entry that counts. */
  readonly entry?: string;
  /** Gives the job a new entry; older ones do not count any more. */
  readonly freshEntry?: boolean;
}

/** Changes a record in one atomic step. Throws where there is no such record. */
export async function changeRecord(redis: Redis, id: string, change: Change): Promise<Changed> {
  const { moves, fields = {}, event, entry, freshEntry = false } = change;
  const script = changeScript({ id, moves, fields: flatten(fields), event, entry, freshEntry, now: new Date() });
  const changed = await evaluate(redis, script);
  if (!changed) throw new Error(`job ${id} is not in Redis`);
  return changed;
}

/** What lists are filtered by, of jobs whose records were trimmed as well. It never changes. */
export interface Brief {
  type: JobType;
  name?: string;
  metadata?: Record<string, string>;
  /** Id of the pipeline that it is part of. */
  pipeline?: string;
  /** Id of the run that it works on. */
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

/** Throws the first error of any of its commands. */
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

/** Puts a record there with its place in the indices and its history. What is known already is left as it is. */
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
