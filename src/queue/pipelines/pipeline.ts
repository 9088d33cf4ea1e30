/** A pipeline as the store holds it, and as clients see it. */
import type { Job } from "../../schema/job.ts";
import { finalStatuses, type JobStatus } from "../../schema/life.ts";
import type { PipelineSpec, PlannedJob } from "../../schema/pipeline.ts";
import { type ReportRow, report } from "../../schema/report.ts";
import type { StudyRecord } from "../../study/types.ts";

export const pipelineStatuses = ["running", "paused", "succeeded", "failed"] as const;
/** failed: all jobs have finished, and not all have succeeded. */
export type PipelineStatus = (typeof pipelineStatuses)[number];

export interface StoredPipeline {
  format: number;
  id: string;
  name: string | null;
  priority: number;
  metadata: Record<string, string>;
  createdAt: string;
  request: string | null;
  spec: PipelineSpec;
  jobs: PlannedJob[];
  /** Whether every job has been submitted. A job that does not exist was deleted then. */
  submitted: boolean;
  /** The study that it is a run of; unset: of none. */
  study?: StudyRecord;
}

export interface Pipeline extends Pick<StoredPipeline, "id" | "name" | "priority" | "metadata" | "createdAt" | "spec"> {
  status: PipelineStatus;
  /** Number of jobs by status; only statuses that occur. */
  counts: Partial<Record<JobStatus, number>>;
  /** End of the last job, ISO 8601; null while a job is unfinished. */
  finishedAt: string | null;
  jobs: (Pick<PlannedJob, "id" | "node" | "type" | "params" | "seed"> & { status: JobStatus; error: string | null })[];
  results: ReportRow[];
}

/**
 * Describes a pipeline by the state of its jobs.
 *
 * @param found - The jobs in the order of `stored.jobs`; undefined in the place of one that does not exist.
 */
export function describePipeline(stored: StoredPipeline, found: readonly (Job | undefined)[]): Pipeline {
  const all = stored.jobs.map((planned, i) => ({ ...planned, job: found[i] }));
  const existing = all.filter(({ job }) => job !== undefined);
  const counts: Pipeline["counts"] = {};
  for (const { job } of existing) counts[(job as Job).status] = (counts[(job as Job).status] ?? 0) + 1;
  // Deleted jobs are left out; jobs that are not submitted yet count as unfinished.
  const rows = stored.submitted ? existing : all;
  const { id, name, priority, metadata, createdAt, spec } = stored;
  const status = statusOf(rows.map(({ job }) => job?.status ?? "waiting"));
  const ends = existing.flatMap(({ job }) => job?.finishedAt ?? []).sort();
  return {
    id,
    name,
    priority,
    metadata,
    createdAt,
    spec,
    counts,
    status,
    finishedAt: status === "succeeded" || status === "failed" ? (ends.at(-1) ?? createdAt) : null,
    jobs: rows.map(({ id: jobId, node, type, params, seed, job }) => ({
      id: jobId,
      node,
      type,
      params,
      seed,
      status: job?.status ?? "waiting",
      error: job?.error ?? null,
    })),
    results: report(rows),
  };
}

function statusOf(statuses: readonly JobStatus[]): PipelineStatus {
  if (statuses.every((status) => status === "succeeded")) return "succeeded";
  const open = statuses.filter((status) => !finalStatuses.includes(status));
  if (open.length === 0) return "failed";
  // A job that waits for a paused one does not run either.
  const held = open.every((status) => status === "paused" || status === "waiting");
  return held && open.includes("paused") ? "paused" : "running";
}

/** Names a job: `sweep / pretrain lr=0.03 seed=1` */
export function jobName(
  { id, name }: StoredPipeline,
  { node, params, seed }: Pick<PlannedJob, "node" | "params" | "seed">,
): string {
  const values = Object.entries(params).map(
    ([field, value]) => `${field.slice(field.lastIndexOf(".") + 1)}=${JSON.stringify(value)}`,
  );
  const whole = [`${name ?? id.slice(-6)} / ${node}`, ...values, ...(seed === null ? [] : [`seed=${seed}`])].join(" ");
  return whole.slice(0, 200);
}
