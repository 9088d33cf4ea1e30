/**
 * The life of a job:
 *
 *     waiting -> queued -> running -> succeeded | failed
 *     running -> pausing -> paused -> queued
 *     running -> cancelling -> cancelled
 *     failed | cancelled -> queued (retry), succeeded -> queued (extend)
 *
 * `waiting`: for another job. What can be asked of a job is a table; what it does to the status is one step in Redis.
 */
export const jobStatuses = [
  "waiting",
  "queued",
  "running",
  "pausing",
  "paused",
  "cancelling",
  "cancelled",
  "succeeded",
  "failed",
] as const;
export type JobStatus = (typeof jobStatuses)[number];

export const finalStatuses: readonly JobStatus[] = ["cancelled", "succeeded", "failed"];
/** A worker has it in hand. */
export const liveStatuses: readonly JobStatus[] = ["running", "pausing", "cancelling"];

export type Moves = Readonly<Partial<Record<JobStatus, JobStatus>>>;

/** What a job that is in a worker's hands becomes when it is in nobody's any more. */
export const atRest = { running: "queued", pausing: "paused", cancelling: "cancelled" } as const satisfies Moves;

interface Action {
  /** Status before -> status after. */
  readonly moves: Moves;
  /** Where it was asked for already, or is as it should be: nothing changes, and that is no error. */
  readonly already: readonly JobStatus[];
}

/** `queued` stands for `waiting` where the job still waits for another one. */
export const actions = {
  pause: {
    moves: { waiting: "paused", queued: "paused", running: "pausing" },
    already: ["pausing", "paused"],
  },
  resume: {
    moves: { paused: "queued", pausing: "running" },
    already: ["waiting", "queued", "running"],
  },
  cancel: {
    moves: {
      waiting: "cancelled",
      queued: "cancelled",
      paused: "cancelled",
      running: "cancelling",
      pausing: "cancelling",
    },
    already: ["cancelling", "cancelled"],
  },
  retry: {
    moves: { failed: "queued", cancelled: "queued" },
    already: ["waiting", "queued", "running"],
  },
} as const satisfies Record<string, Action>;
export type ActionName = keyof typeof actions;

/** Statuses in which it changes something. */
export const allowedFrom = (name: ActionName): JobStatus[] =>
  jobStatuses.filter((status) => status in actions[name].moves);
