/**
 * Pipelines. The store has a document for each, under `pipelines/`, written before the first of its jobs is submitted.
 * The jobs are ordinary ones that wait for their sources, so a pipeline needs no machinery of its own.
 */
import type { Redis } from "ioredis";
import type { Job } from "../../schema/job.ts";
import { type ActionName, actions, finalStatuses, type Moves } from "../../schema/life.ts";
import { expand, PIPELINE_JOBS, type PipelineSpec, type PlannedJob } from "../../schema/pipeline.ts";
import type { Blobs } from "../../store/blobs.ts";
import { JsonFolder } from "../../store/json_folder.ts";
import type { StudyRecord } from "../../study/types.ts";
import { UserError } from "../../util/errors.ts";
import { idOfKey, newId } from "../../util/id.ts";
import { keys } from "../keys.ts";
import { ConflictError, type Life } from "../life/life.ts";
import type { Submissions } from "../life/submissions.ts";
import { pageOf } from "../records/list.ts";
import type { Records } from "../records/records.ts";
import { describePipeline, jobName, type Pipeline, type StoredPipeline } from "./pipeline.ts";

const FORMAT = 1;
/** Time that a live API may take to submit the jobs of a pipeline. */
const SUBMITTING_MS = 30_000;

export interface PipelineSubmission {
  readonly spec: unknown;
  readonly name?: string | null;
  readonly priority?: number;
  readonly metadata?: Record<string, string>;
  readonly idempotency?: { key: string; request: string } | undefined;
  /** Throws SpecError where one of the jobs cannot be accepted. */
  readonly check?: (jobs: readonly PlannedJob[]) => Promise<void>;
  /** Of a run of a study: its record, which is written with the pipeline's. Called after `check`. */
  readonly study?: (jobs: readonly PlannedJob[]) => Promise<StudyRecord>;
}

export class Pipelines {
  private readonly stored: JsonFolder<StoredPipeline>;

  constructor(
    private readonly redis: Redis,
    blobs: Blobs,
    private readonly records: Records,
    private readonly life: Life,
    private readonly submissions: Submissions,
  ) {
    this.stored = new JsonFolder(blobs, "pipelines");
  }

  /**
   * Accepts a pipeline and submits its jobs.
   *
   * @throws SpecError that names every invalid field.
   * @throws KeyReusedError where the idempotency key was used for a different request.
   */
  async submit(submission: PipelineSubmission): Promise<Pipeline> {
    const { idempotency } = submission;
    const id = idempotency ? idOfKey("pipe", idempotency.key) : newId("pipe");
    const accept = () => this.accept(id, submission);
    if (idempotency) await this.submissions.once({ id, ...idempotency }, () => this.load(id), accept);
    else await accept();
    return (await this.get(id)) as Pipeline;
  }

  private async accept(id: string, submission: PipelineSubmission): Promise<void> {
    const { name = null, priority = 0, metadata = {}, idempotency } = submission;
    // Sorted, because ids of the same millisecond are in random order.
    const ids = Array.from({ length: PIPELINE_JOBS }, () => newId("run")).sort();
    const planned = expand(submission.spec, () => ids.shift() ?? newId("run"));
    const own = new Set(planned.map((job) => job.id));
    for (const { node, type, spec } of planned) {
      if ("from" in spec && !own.has(spec.from)) {
        await this.submissions.expectSource(type, spec, `jobs.${node}.spec.from`);
      }
    }
    await submission.check?.(planned);
    const study = await submission.study?.(planned);
    const stored: StoredPipeline = {
      format: FORMAT,
      id,
      name,
      priority,
      metadata,
      createdAt: new Date().toISOString(),
      request: idempotency?.request ?? null,
      spec: submission.spec as PipelineSpec,
      jobs: planned,
      submitted: false,
      ...(study && { study }),
    };
    await this.stored.write(stored);
    await this.index(stored);
    await this.submitJobs(stored);
  }

  private async index({ id, createdAt, submitted, study }: StoredPipeline): Promise<void> {
    await this.redis.zadd(keys.pipelines, Date.parse(createdAt), id);
    if (study) await this.redis.zadd(keys.studies, Date.parse(createdAt), id);
    if (!submitted) await this.redis.sadd(keys.unsubmitted, id);
  }

  /** Reads the document of a pipeline; undefined where there is none. */
  async load(id: string): Promise<StoredPipeline | undefined> {
    if (!/^pipe_[0-9a-z]{1,40}$/.test(id)) return undefined;
    const stored = await this.stored.read(id);
    if (stored && stored.format > FORMAT) {
      throw new UserError(
        `pipeline ${id}: format ${stored.format} is of a newer mocod; this one knows up to ${FORMAT}`,
      );
    }
    return stored;
  }

  /** Submits the jobs that do not exist yet. */
  private async submitJobs(stored: StoredPipeline): Promise<void> {
    const { id, priority, metadata } = stored;
    // One after the other, sources first: they run, and are listed, in the order of the sweep.
    for (const { id: job, type, spec, node, params, seed } of stored.jobs) {
      const name = jobName(stored, { node, params, seed });
      const pipeline = { id, job: node };
      await this.submissions.submitAs(job, { type, spec, name, priority, metadata, pipeline });
    }
    await this.stored.write({ ...stored, submitted: true });
    await this.redis.srem(keys.unsubmitted, id);
  }

  /**
   * Submits the remaining jobs of pipelines whose API died.
   *
   * @param age - Milliseconds since its creation after which a pipeline's API counts as dead.
   */
  async submitRemaining(age = SUBMITTING_MS): Promise<void> {
    for (const id of await this.redis.smembers(keys.unsubmitted)) {
      const stored = await this.load(id);
      if (!stored || stored.submitted) await this.redis.srem(keys.unsubmitted, id);
      else if (Date.now() - Date.parse(stored.createdAt) > age) await this.submitJobs(stored);
    }
  }

  /** Lists in Redis every pipeline of the store. */
  async rebuild(): Promise<void> {
    for (const id of await this.stored.ids()) {
      const stored = await this.load(id);
      if (stored) await this.index(stored);
    }
  }

  /** Reads a pipeline; undefined where there is none. */
  async get(id: string): Promise<Pipeline | undefined> {
    const stored = await this.load(id);
    return stored && describePipeline(stored, await this.jobsOf(stored));
  }

  /** Reads the jobs of a pipeline, in its order; undefined in the place of one that does not exist. */
  jobsOf(stored: StoredPipeline): Promise<(Job | undefined)[]> {
    return this.records.many(stored.jobs.map((job) => job.id));
  }

  /**
   * Reads a page of pipelines, newest first.
   *
   * @throws UserError where `after` is not the cursor of a page.
   */
  async list(limit: number, after?: string): Promise<{ pipelines: Pipeline[]; next: string | null }> {
    const { ids, next } = await pageOf(this.redis, keys.pipelines, { limit, after });
    const pipelines = (await Promise.all(ids.map((id) => this.get(id)))).filter((found) => found !== undefined);
    return { pipelines, next };
  }

  /**
   * Pauses, resumes, cancels or retries every job whose status allows it. Undefined where there is no such pipeline.
   */
  async act(id: string, name: ActionName): Promise<Pipeline | undefined> {
    const stored = await this.load(id);
    if (!stored) return undefined;
    const found = await this.jobsOf(stored);
    const able = found.filter((job) => job !== undefined && job.status in (actions[name].moves as Moves)) as Job[];
    // Dependents stop before their sources, so that they do not fail with them, and resume after them.
    for (const job of name === "cancel" || name === "pause" ? able.reverse() : able) {
      try {
        await this.life.act(job.id, name);
      } catch (error) {
        // Its status has changed since it was read; the answer has the new one.
        if (!(error instanceof ConflictError)) throw error;
      }
    }
    return this.get(id);
  }

  /**
   * Deletes a finished pipeline and its jobs.
   *
   * @returns False where there is no such pipeline.
   * @throws ConflictError where a job is unfinished, or an unfinished job outside the pipeline uses its encoder.
   */
  async remove(id: string): Promise<boolean> {
    const stored = await this.load(id);
    if (!stored) return false;
    const unfinished = (await this.jobsOf(stored)).find((job) => job && !finalStatuses.includes(job.status));
    if (unfinished) {
      throw new ConflictError(
        unfinished.status,
        `job ${unfinished.id} is ${unfinished.status}; cancel the pipeline first`,
      );
    }
    for (const job of stored.jobs.toReversed()) await this.life.remove(job.id);
    await this.redis.zrem(keys.pipelines, id);
    await this.redis.zrem(keys.studies, id);
    await this.redis.srem(keys.unsubmitted, id);
    await this.stored.remove(id);
    return true;
  }
}
