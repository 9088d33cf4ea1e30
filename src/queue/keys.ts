/** Every name in Redis. */
import type { JobStatus } from "../schema/life.ts";

/** BullMQ's queues: one for any worker, one for those with a GPU. */
export const QUEUES = { any: "mocod", webgpu: "mocod-webgpu" } as const;
export type QueueName = keyof typeof QUEUES;

const STATUS = "mocod:status:";

export const keys = {
  /** The record of a job, a hash. */
  run: (id: string) => `mocod:run:${id}`,
  /** Every event of a job, a capped stream. */
  events: (id: string) => `mocod:run:${id}:events`,
  /** The events that the store keeps, all but progress, a list. */
  history: (id: string) => `mocod:run:${id}:history`,
  /** Jobs that wait for this one, a set. */
  dependents: (id: string) => `mocod:run:${id}:dependents`,
  /** Jobs of any status on the encoder of this one, a set. */
  users: (id: string) => `mocod:run:${id}:users`,
  /** Job -> the fields that lists filter by (`Brief`), a hash. */
  briefs: "mocod:briefs",
  /** Lock: held while a request with an Idempotency-Key is being accepted. */
  accepting: (id: string) => `mocod:accepting:${id}`,
  /** Pipelines by time of creation, a sorted set. */
  pipelines: "mocod:pipelines",
  /** Pipelines whose jobs are not all submitted yet, a set. */
  unsubmitted: "mocod:pipelines:unsubmitted",
  /** Pipelines that are runs of studies, by time of creation, a sorted set. */
  studies: "mocod:studies",
  /** All jobs by time of creation, a sorted set. */
  index: "mocod:runs",
  /** Jobs of one status by time of creation, a sorted set. */
  statusPrefix: STATUS,
  status: (status: JobStatus) => `${STATUS}${status}`,
  /** Finished jobs whose records are in Redis, by time of their end, a sorted set. */
  finished: "mocod:finished",
  /** Jobs whose record is newer than their file in the store, a set. */
  dirty: "mocod:dirty",
  /** Tells processes that are saving a job that it was deleted. Expires after an hour. */
  deleted: (id: string) => `mocod:deleted:${id}`,
  /**
   * Identifies the store and the Redis instance that are in sync; it differs, or is missing, after a wipe or restart.
   */
  marker: "mocod:store",
  /** Lock of housekeeping. */
  housekeeping: "mocod:tending",
  /** Every change of a status, a capped stream. */
  outbox: "mocod:outbox",
  /** Id of the last entry of the outbox that was turned into deliveries. */
  outboxPosition: "mocod:outbox:heard",
  /** Lock of the process that turns entries into deliveries. */
  outboxLock: "mocod:outbox:lock",
  /** Datasets that are being imported, a set. */
  imports: "mocod:imports",
  /** The process that imports a dataset. Expires unless it is renewed. */
  importing: (id: string) => `mocod:importing:${id}`,
  /** Ids of workers, a set. */
  workers: "mocod:workers",
  /** The last heartbeat of a worker, JSON that expires. */
  worker: (id: string) => `mocod:worker:${id}`,
  /** BullMQ's own: the lock on an entry, the hash of an entry, and the entries by priority. */
  lock: (queue: QueueName, entry: string) => `bull:${QUEUES[queue]}:${entry}:lock`,
  entry: (queue: QueueName, entry: string) => `bull:${QUEUES[queue]}:${entry}`,
  prioritized: (queue: QueueName) => `bull:${QUEUES[queue]}:prioritized`,
} as const;

/** Channel that notifies workers of requests. They read the record as well, so a lost message only delays. */
export const CONTROL_CHANNEL = "mocod:control";
