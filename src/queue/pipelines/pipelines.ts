/**
 * Pipelines: what was asked for lies in the store under `pipelines/`, before the first of its jobs is submitted; the jobs
 * wait for each other as any job on an encoder does. So a pipeline needs nothing that one of its jobs does not.
 */
import type { Job } from "../../schema/job.ts";
import { type ActionName, actions, finalStatuses, type JobStatus, type Moves } from "../../schema/life.ts";
import { expand, PIPELINE_JOBS, type PipelineSpec, type PlannedJob } from "../../schema/pipeline.ts";
import { type ReportRow, report } from "../../schema/report.ts";
import { JsonFolder } from "../../store/json_folder.ts";
import { UserError } from "../../util/errors.ts";
import { idOfKey, newId } from "../../util/id.ts";
import { ConflictError, type Jobs } from "../jobs.ts";
import { keys } from "../keys.ts";
import { expectSource, once, submitAs } from "../life/submit.ts";
import { pageOf } from "../records/list.ts";

const FORMAT = 1;

export const pipelineStatuses = ["running", "paused", "succeeded", "failed"] as const;
/** failed: all jobs are over, and not all have succeeded. */
export type PipelineStatus = (typeof pipelineStatuses)[number];

interface StoredPipeline {
  format: number;
  id: string;
  name: string | null;
  priority: number;
  metadata: Record<string, string>;
  createdAt: string;
  request: string | null;
  spec: PipelineSpec;
  jobs: PlannedJob[];
  /** Every job has been submitted, and may have been deleted since. */
  submitted: boolean;
}

export interface Pipeline extends Pick<StoredPipeline, "id" | "name" | "priority" | "metadata" | "createdAt" | "spec"> {
  status: PipelineStatus;
  /** How many jobs there are of each status that any has. */
  counts: Partial<Record<JobStatus, number>>;
  /** When the last of its jobs ended, ISO 8601; null: not all have. */
  finishedAt: string | null;
  jobs: (Pick<PlannedJob, "id" | "node" | "type" | "params" | "seed"> & { status: JobStatus; error: string | null })[];
  results: ReportRow[];
}

export interface PipelineSubmission {
  readonly spec: unknown;
  readonly name?: string | null;
  readonly priority?: number;
  readonly metadata?: Record<string, string>;
  readonly idempotency?: { key: string; request: string } | undefined;
}

export class Pipelines {
  private readonly stored: JsonFolder<StoredPipeline>;

  constructor(private readonly jobs: Jobs) {
    this.stored = new JsonFolder(jobs.archive.blobs, "pipelines");
  }

  /** Throws SpecError with every bad field, KeyReusedError where the idempotency key was used for another request. */
  async submit(submission: PipelineSubmission): Promise<Pipeline> {
    const { idempotency } = submission;
    const id = idempotency ? idOfKey("pipe", idempotency.key) : newId("pipe");
    const accept = () => this.accept(id, submission);
    if (idempotency) await once(this.jobs, { id, ...idempotency }, () => this.load(id), accept);
    else await accept();
    return (await this.get(id)) as Pipeline;
  }

  private async accept(id: string, submission: PipelineSubmission): Promise<void> {
    const { name = null, priority = 0, metadata = {}, idempotency } = submission;
    // In order even where they are made within a millisecond.
    const ids = Array.from({ length: PIPELINE_JOBS }, () => newId("run")).sort();
    const planned = expand(submission.spec, () => ids.shift() ?? newId("run"));
    const own = new Set(planned.map((job) => job.id));
    for (const { node, spec } of planned) {
      if ("from" in spec && !own.has(spec.from)) await expectSource(this.jobs, spec, `jobs.${node}.spec.from`);
    }
    const stored: StoredPipeline = {
      ...{ format: FORMAT, id, name, priority, metadata, createdAt: new Date().toISOString() },
      ...{ request: idempotency?.request ?? null, spec: submission.spec as PipelineSpec, jobs: planned },
      submitted: false,
    };
    await this.stored.write(stored);
    await this.index(stored);
    await this.submitJobs(stored);
  }

  private async index({ id, createdAt, submitted }: StoredPipeline): Promise<void> {
    const { redis } = this.jobs;
    await redis.zadd(keys.pipelines, Date.parse(createdAt), id);
    if (!submitted) await redis.sadd(keys.unsubmitted, id);
  }

  private async load(id: string): Promise<StoredPipeline | undefined> {
    if (!/^pipe_[0-9a-z]{1,40}$/.test(id)) return undefined;
    const stored = await this.stored.read(id);
    if (stored && stored.format > FORMAT) {
      throw new UserError(
        `pipeline ${id}: format ${stored.format} is of a newer mocod; this one knows up to ${FORMAT}`,
      );
    }
    return stored;
  }

  /** Safe to repeat: what is there is left as it is. */
  private async submitJobs(stored: StoredPipeline): Promise<void> {
    const { id, priority, metadata } = stored;
    // One after the other, sources first: they run, and are listed, in the order of the sweep.
    for (const { id: job, type, spec, node, ...at } of stored.jobs) {
      const name = nameOf(stored, { node, ...at });
      await submitAs(this.jobs, job, { type, spec, name, priority, metadata, pipeline: { id, job: node } });
    }
    await this.stored.write({ ...stored, submitted: true });
    await this.jobs.redis.srem(keys.unsubmitted, id);
  }

  /** Submits what an API that died had not come to. `age`: milliseconds that one which is alive may take. */
  async mend(age = 30_000): Promise<void> {
    for (const id of await this.jobs.redis.smembers(keys.unsubmitted)) {
      const stored = await this.load(id);
      if (!stored || stored.submitted) await this.jobs.redis.srem(keys.unsubmitted, id);
      else if (Date.now() - Date.parse(stored.createdAt) > age) await this.submitJobs(stored);
    }
  }

  /** Lists in Redis what the store has. */
  async rebuild(): Promise<void> {
    for (const id of await this.stored.ids()) {
      const stored = await this.load(id);
      if (stored) await this.index(stored);
    }
  }

  async get(id: string): Promise<Pipeline | undefined> {
    const stored = await this.load(id);
    return stored && this.described(stored);
  }

  private async described(stored: StoredPipeline): Promise<Pipeline> {
    const found = await this.jobs.many(stored.jobs.map((job) => job.id));
    const seen = stored.jobs.map((planned, i) => ({ ...planned, job: found[i] }));
    const there = seen.filter(({ job }) => job !== undefined);
    const counts: Pipeline["counts"] = {};
    for (const { job } of there) counts[(job as Job).status] = (counts[(job as Job).status] ?? 0) + 1;
    // A job that was deleted is in the table no more; one that is not submitted yet is unfinished.
    const rows = stored.submitted ? there : seen;
    const { id, name, priority, metadata, createdAt, spec } = stored;
    const status = statusOf(rows.map(({ job }) => job?.status ?? "waiting"));
    const ends = there.flatMap(({ job }) => job?.finishedAt ?? []).sort();
    return {
      ...{ id, name, priority, metadata, createdAt, spec, counts, status },
      finishedAt: status === "succeeded" || status === "failed" ? (ends.at(-1) ?? createdAt) : null,
      jobs: rows.map(({ id: of, node, type, params, seed, job }) => ({
        ...{ id: of, node, type, params, seed, status: job?.status ?? "waiting", error: job?.error ?? null },
      })),
      results: report(rows),
    };
  }

  /** A page of pipelines, newest first. Throws UserError where its cursor is none. */
  async list(limit: number, after?: string): Promise<{ pipelines: Pipeline[]; next: string | null }> {
    const { ids, next } = await pageOf(this.jobs.redis, keys.pipelines, { limit, after });
    const pipelines = (await Promise.all(ids.map((id) => this.get(id)))).filter((found) => found !== undefined);
    return { pipelines, next };
  }

  /** Asks it of every job whose status allows it. Undefined where there is no such pipeline. */
  async act(id: string, name: ActionName): Promise<Pipeline | undefined> {
    const stored = await this.load(id);
    if (!stored) return undefined;
    const found = await this.jobs.many(stored.jobs.map((job) => job.id));
    const able = found.filter((job) => job !== undefined && job.status in (actions[name].moves as Moves)) as Job[];
    // What works on others stops before them, lest it fails with them, and goes on after them.
    for (const job of name === "cancel" || name === "pause" ? able.reverse() : able) {
      try {
        await this.jobs.act(job.id, name);
      } catch (error) {
        // Its status changed in between; the answer says to what.
        if (!(error instanceof ConflictError)) throw error;
      }
    }
    return this.get(id);
  }

  /**
   * Removes a pipeline that is over, its jobs with it. False where there is no such pipeline; throws ConflictError where a
   * job is not over, or is needed by one that is not of the pipeline.
   */
  async remove(id: string): Promise<boolean> {
    const stored = await this.load(id);
    if (!stored) return false;
    const found = await this.jobs.many(stored.jobs.map((job) => job.id));
    const alive = found.find((job) => job && !finalStatuses.includes(job.status));
    if (alive) throw new ConflictError(alive.status, `job ${alive.id} is ${alive.status}; cancel the pipeline first`);
    for (const job of stored.jobs.toReversed()) await this.jobs.remove(job.id);
    await this.jobs.redis.zrem(keys.pipelines, id);
    await this.jobs.redis.srem(keys.unsubmitted, id);
    await this.stored.remove(id);
    return true;
  }
}

function statusOf(statuses: readonly JobStatus[]): PipelineStatus {
  if (statuses.every((status) => status === "succeeded")) return "succeeded";
  const open = statuses.filter((status) => !finalStatuses.includes(status));
  if (open.length === 0) return "failed";
  // What waits for a job that is paused does not run either.
  const held = open.every((status) => status === "paused" || status === "waiting");
  return held && open.includes("paused") ? "paused" : "running";
}

/** `sweep / pretrain lr=0.03 seed=1` */
function nameOf(
  { id, name }: StoredPipeline,
  { node, params, seed }: Pick<PlannedJob, "node" | "params" | "seed">,
): string {
  const values = Object.entries(params).map(
    ([field, value]) => `${field.slice(field.lastIndexOf(".") + 1)}=${JSON.stringify(value)}`,
  );
  const whole = [`${name ?? id.slice(-6)} / ${node}`, ...values, ...(seed === null ? [] : [`seed=${seed}`])].join(" ");
  return whole.slice(0, 200);
}
