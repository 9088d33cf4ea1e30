/** Names in Redis, all of them. */
import type { JobStatus } from "../schema/life.ts";

/** BullMQ's queues: one for any worker, one for those with a GPU. */
export const QUEUES = { any: "mocod", webgpu: "mocod-webgpu" } as const;
export type QueueName = keyof typeof QUEUES;

const STATUS = "mocod:status:";

export const keys = {
  /** The record of a job, a hash. */
  run: (id: string) => `mocod:run:${id}`,
  /** Everything that is said of it, a capped stream. */
  events: (id: string) => `mocod:run:${id}:events`,
  /** What of it is kept in the store: all but progress, a list. */
  history: (id: string) => `mocod:run:${id}:history`,
  /** Jobs that wait for it, a set. */
  dependents: (id: string) => `mocod:run:${id}:dependents`,
  /** Jobs on its encoder, whatever their status, a set. */
  users: (id: string) => `mocod:run:${id}:users`,
  /** Job -> what lists are filtered by, a hash. */
  briefs: "mocod:briefs",
  /** Held while a request with an Idempotency-Key is being accepted. */
  accepting: (id: string) => `mocod:accepting:${id}`,
  /** Pipelines by their time of creation; those of which not every job is submitted yet. */
  pipelines: "mocod:pipelines",
  unsubmitted: "mocod:pipelines:unsubmitted",
  /** All jobs by their time of creation, and those of a status. */
  index: "mocod:runs",
  statusPrefix: STATUS,
  status: (status: JobStatus) => `${STATUS}${status}`,
  /** Finished jobs whose records are still here, by their end. */
  finished: "mocod:finished",
  /** Jobs whose file in the store is older than the record. */
  dirty: "mocod:dirty",
  /** That a job was deleted, to whoever is saving it just then; for an hour. */
  deleted: (id: string) => `mocod:deleted:${id}`,
  /** Says that this Redis knows what the store holds: without it all has been lost. */
  marker: "mocod:store",
  /** Who does the housekeeping just now. */
  tending: "mocod:tending",
  /** Every change of a status, a capped stream; how far webhooks have heard it, and who tells them just now. */
  outbox: "mocod:outbox",
  outboxHeard: "mocod:outbox:heard",
  outboxLock: "mocod:outbox:lock",
  workers: "mocod:workers",
  worker: (id: string) => `mocod:worker:${id}`,
  /** BullMQ's own: the lock on an entry, its hash, and the queue by priority. */
  lock: (queue: QueueName, entry: string) => `bull:${QUEUES[queue]}:${entry}:lock`,
  entry: (queue: QueueName, entry: string) => `bull:${QUEUES[queue]}:${entry}`,
  prioritized: (queue: QueueName) => `bull:${QUEUES[queue]}:prioritized`,
} as const;

/** Nudges workers; the record's status is what counts, so a lost message only delays. */
export const CONTROL_CHANNEL = "mocod:control";
