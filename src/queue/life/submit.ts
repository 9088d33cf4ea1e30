/** How a job comes in: into the store first, then into Redis, then into the queue. */
import {
  type ForkSource,
  type Job,
  type JobSpecs,
  type JobType,
  type PipelineMember,
  SpecError,
} from "../../schema/job.ts";
import { finalStatuses } from "../../schema/life.ts";
import { lint } from "../../schema/lint.ts";
import type { RunStore } from "../../store/run_store.ts";
import { idOfKey, newId } from "../../util/id.ts";
import type { Jobs } from "../jobs.ts";
import { keys, type QueueName } from "../keys.ts";
import type { StoredJob } from "../records/archive.ts";
import { createRecord, JOB_FORMAT, type JobEvent, noAttempts } from "../records/record.ts";

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
  readonly pipeline?: PipelineMember | null;
  /** Whether it may be accepted: throws where not. Not asked again of a request that was. */
  readonly check?: () => Promise<void>;
  /** Fills the run's folder before anyone can see the job. */
  readonly fill?: (run: RunStore) => Promise<unknown>;
}

/** Throws SpecError unless a job of such a spec can ever run. */
export async function expectSource(jobs: Jobs, spec: JobSpecs[JobType], field = "spec.from"): Promise<void> {
  if (!("from" in spec)) return;
  const source = await jobs.record(spec.from);
  const refuse = (allowed: string) => new SpecError([{ field, got: spec.from, allowed }]);
  if (source?.type !== "pretrain") throw refuse("the id of a pretrain job");
  if (source.status === "failed" || source.status === "cancelled") {
    throw refuse(`a pretrain job that can end well (the status of this one is ${source.status})`);
  }
}

/**
 * What a request with an Idempotency-Key comes to: `look` finds what it came to before, else `accept` does it, once at a
 * time. Throws KeyReusedError where the key was used for another request.
 */
export async function once<T extends { request: string | null }>(
  jobs: Jobs,
  { id, key, request }: { id: string; key: string; request: string },
  look: () => Promise<T | undefined>,
  accept: () => Promise<unknown>,
): Promise<void> {
  for (;;) {
    const known = await look();
    if (known && known.request !== request) throw new KeyReusedError(key, id);
    if (known) return;
    // Whoever accepts it just now will be done, or dead, within a few seconds.
    if (await jobs.redis.set(keys.accepting(id), "1", "PX", ACCEPTING_MS, "NX")) {
      try {
        await accept();
        return;
      } finally {
        await jobs.redis.del(keys.accepting(id));
      }
    }
    await Bun.sleep(50);
  }
}

/**
 * Accepts a job with a valid spec: it is in the store when this resolves. A job on an unfinished run waits for it. Throws
 * KeyReusedError where its idempotency key was used for another request.
 */
export async function submit<T extends JobType>(jobs: Jobs, submission: Submission<T>): Promise<Job> {
  const { idempotency } = submission;
  const id = idempotency ? idOfKey("run", idempotency.key) : newId("run");
  if (!idempotency) await accept(jobs, submission, id);
  else {
    await once(
      jobs,
      { id, ...idempotency },
      () => jobs.record(id),
      () => accept(jobs, submission, id),
    );
  }
  return (await jobs.get(id)) as Job;
}

/** As `submit`, under an id that is known before; what is there already is left as it is. */
export async function submitAs<T extends JobType>(jobs: Jobs, id: string, submission: Submission<T>): Promise<void> {
  if (!(await jobs.record(id))) await accept(jobs, submission, id);
}

async function accept<T extends JobType>(jobs: Jobs, submission: Submission<T>, id: string): Promise<void> {
  const { type, name = null, spec, priority = 0, metadata = {}, idempotency, fill } = submission;
  const { forked = null, pipeline = null } = submission;
  await submission.check?.();
  const awaited = "from" in spec ? spec.from : undefined;
  const status = awaited ? ("waiting" as const) : ("queued" as const);
  const record = blank({ id, type, name, spec, priority, metadata, forked, pipeline, status });
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
    ...{ id: newId("run"), type: "pretrain", name, spec, priority: 0, metadata: {}, status: "succeeded" },
    ...{ forked: null, pipeline: null },
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
  of: Pick<StoredJob, "id" | "type" | "name" | "spec" | "priority" | "metadata" | "forked" | "pipeline" | "status">,
): StoredJob {
  return {
    ...{ warnings: [], result: null, error: null, request: null },
    ...{ createdAt: new Date().toISOString(), startedAt: null, finishedAt: null, retryAt: null, progress: null },
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
