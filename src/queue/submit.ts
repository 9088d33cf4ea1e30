/** How a job comes in: into the store first, then into Redis, then into the queue. */
import type { ForkSource, Job, JobSpecs, JobType } from "../spec/job.ts";
import { finalStatuses } from "../spec/life.ts";
import { lint } from "../spec/lint.ts";
import type { RunStore } from "../store/run_store.ts";
import { idOfKey, newRunId } from "../util/id.ts";
import type { StoredJob } from "./archive.ts";
import type { Jobs } from "./jobs.ts";
import { keys, type QueueName } from "./keys.ts";
import { createRecord, JOB_FORMAT, type JobEvent, noAttempts } from "./records.ts";

/** An idempotency key that was used for another request before. */
export class KeyReusedError extends Error {
  override name = "KeyReusedError";
  constructor(key: string, id: string) {
    super(`Idempotency-Key: "${key}" was used before, for another request (job ${id}); use a new key for a new job`);
  }
}

/** A request that is being accepted for so long is taken for dead. */
const ACCEPTING_MS = 30_000;

export interface Submission<T extends JobType = JobType> {
  readonly type: T;
  readonly name?: string | null;
  readonly spec: JobSpecs[T];
  readonly priority?: number;
  readonly metadata?: Record<string, string>;
  /** Makes the id: the same key, the same job. */
  readonly idempotency?: { key: string; request: string } | undefined;
  readonly forked?: ForkSource | null;
  /** Whether it may be accepted: throws where not. Not asked again of a request that was. */
  readonly check?: () => Promise<void>;
  /** Fills the run's folder before anyone can see the job. */
  readonly fill?: (run: RunStore) => Promise<unknown>;
}

/**
 * Accepts a job with a valid spec: it is in the store when this resolves. A job on an unfinished run waits for it. Throws
 * KeyReusedError where its idempotency key was used for another request.
 */
export async function submit<T extends JobType>(jobs: Jobs, submission: Submission<T>): Promise<Job> {
  const { idempotency } = submission;
  if (!idempotency) return accept(jobs, submission, newRunId());
  const id = idOfKey(idempotency.key);
  for (;;) {
    const known = await jobs.record(id);
    if (known && known.request !== idempotency.request) throw new KeyReusedError(idempotency.key, id);
    if (known) return (await jobs.get(id)) as Job;
    // Whoever accepts it just now will be done, or dead, within a few seconds.
    if (await jobs.redis.set(keys.accepting(id), "1", "PX", ACCEPTING_MS, "NX")) {
      try {
        return await accept(jobs, submission, id);
      } finally {
        await jobs.redis.del(keys.accepting(id));
      }
    }
    await Bun.sleep(50);
  }
}

async function accept<T extends JobType>(jobs: Jobs, submission: Submission<T>, id: string): Promise<Job> {
  const { type, name = null, spec, priority = 0, metadata = {}, forked = null, idempotency, fill } = submission;
  await submission.check?.();
  const awaited = "from" in spec ? spec.from : undefined;
  const status = awaited ? ("waiting" as const) : ("queued" as const);
  const record = blank({ id, type, name, spec, priority, metadata, forked, status });
  record.request = idempotency?.request ?? null;
  record.warnings = type === "pretrain" ? lint(spec as JobSpecs["pretrain"]).map(({ message }) => message) : [];
  const source = awaited ? await jobs.record(awaited) : undefined;
  record.queue = queueFor(source ? source.spec : spec);
  await create(jobs, record, fill);
  if (source) {
    await jobs.redis.sadd(keys.dependents(source.id), id);
    const now = await jobs.record(source.id);
    if (now && finalStatuses.includes(now.status)) await jobs.releaseDependents(now);
  } else {
    await jobs.enqueue(id);
  }
  return (await jobs.get(id)) as Job;
}

/** Puts a run that was pretrained elsewhere among the finished ones. `fill` writes its checkpoint. */
export async function adopt(
  jobs: Jobs,
  name: string,
  spec: JobSpecs["pretrain"],
  epochs: number,
  fill: (run: RunStore) => Promise<unknown>,
): Promise<Job> {
  const record = blank({
    ...{ id: newRunId(), type: "pretrain", name, spec, priority: 0, metadata: {}, forked: null, status: "succeeded" },
  });
  record.startedAt = record.createdAt;
  record.finishedAt = record.createdAt;
  await create(jobs, record, async (run) => {
    const checkpoint = await fill(run);
    record.result = { imported: true, epochs, checkpoint };
    await run.finish(record.result);
  });
  return (await jobs.get(record.id)) as Job;
}

function blank(
  of: Pick<StoredJob, "id" | "type" | "name" | "spec" | "priority" | "metadata" | "forked" | "status">,
): StoredJob {
  return {
    ...{ warnings: [], result: null, error: null, request: null },
    ...{ createdAt: new Date().toISOString(), startedAt: null, finishedAt: null, retryAt: null },
    ...{ format: JOB_FORMAT, version: 1, generation: 1, entry: `${of.id}_1`, queue: "any", place: "" },
    attempts: noAttempts,
    ...of,
  };
}

/** The store first: what Redis knows and the store does not would be lost with Redis. */
async function create(jobs: Jobs, record: StoredJob, fill?: (run: RunStore) => Promise<unknown>): Promise<void> {
  await fill?.(jobs.run(record.id));
  const history: JobEvent[] = [
    { id: `${Date.parse(record.createdAt)}-0`, type: "status", data: { status: record.status } },
  ];
  await jobs.archive.write(record, history);
  await createRecord(jobs.redis, record, history);
}

function queueFor(spec: JobSpecs[JobType]): QueueName {
  return "device" in spec && spec.device === "webgpu" ? "webgpu" : "any";
}
