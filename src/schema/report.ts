/** What a pipeline has come to: one row for each job and point, with means over the seeds. */
import { sampleOf } from "../util/sample.ts";
import type { Job } from "./job.ts";
import { finalStatuses } from "./life.ts";
import { valueAt } from "./merge.ts";
import type { PlannedJob } from "./pipeline.ts";
import type { JobType } from "./types.ts";

/** The figures of a result that are worth comparing, dotted. */
const figures: Record<JobType, readonly string[]> = {
  pretrain: ["loss", "knn"],
  "linear-probe": ["top1", "top5", "knn"],
  knn: ["top1", "top5"],
  "fine-tune": ["top1", "top5"],
  "zero-shot": ["top1", "top5"],
  retrieval: ["text.at1", "text.at5", "image.at1", "image.at5"],
  embed: [],
  map: [],
  export: [],
};

export interface Figure {
  readonly mean: number;
  /** Sample standard deviation over the seeds; null for one seed. */
  readonly std: number | null;
  /** One a seed that has succeeded, in the order of `seeds`. */
  readonly values: readonly number[];
}

export interface ReportRow {
  /** Its name in the pipeline. */
  readonly job: string;
  readonly type: JobType;
  readonly params: Readonly<Record<string, unknown>>;
  /** By name: top1, loss … */
  readonly figures: Readonly<Record<string, Figure>>;
  /** Those that succeeded. */
  readonly seeds: readonly (number | null)[];
  readonly succeeded: number;
  /** Failed or cancelled. */
  readonly failed: number;
  readonly unfinished: number;
  readonly ids: readonly string[];
}

export type Seen = Pick<PlannedJob, "id" | "node" | "type" | "params" | "seed"> & {
  /** Undefined: deleted, or not submitted yet. */
  readonly job: Pick<Job, "status" | "result"> | undefined;
};

export function figureOf(values: readonly number[]): Figure {
  const { mean, deviation: std } = sampleOf(values);
  return { mean, std, values };
}

export function report(jobs: readonly Seen[]): ReportRow[] {
  const groups = Map.groupBy(jobs, ({ node, params }) => JSON.stringify([node, Object.entries(params).sort()]));
  return [...groups.values()].map((group): ReportRow => {
    const { node, type, params } = group[0] as Seen;
    const good = group.filter(({ job }) => job?.status === "succeeded");
    const failed = group.filter(({ job }) => job && job.status !== "succeeded" && finalStatuses.includes(job.status));
    const named = figures[type].flatMap((name): [string, Figure][] => {
      const values = good.map(({ job }) => valueAt(job?.result, name)).filter((value) => typeof value === "number");
      return values.length > 0 ? [[name, figureOf(values)]] : [];
    });
    return {
      job: node,
      type,
      params,
      figures: Object.fromEntries(named),
      seeds: good.map(({ seed }) => seed),
      succeeded: good.length,
      failed: failed.length,
      unfinished: group.length - good.length - failed.length,
      ids: group.map(({ id }) => id),
    };
  });
}

/** One line for each figure, with a column for every swept field. */
export function reportLines(rows: readonly ReportRow[]): Record<string, unknown>[] {
  const fields = [...new Set(rows.flatMap(({ params }) => Object.keys(params)))];
  return rows.flatMap(({ job, params, figures: of, ...counts }) => {
    const { succeeded, failed, unfinished } = counts;
    const columns = Object.fromEntries(
      fields.map((field) => [field, typeof params[field] === "object" ? JSON.stringify(params[field]) : params[field]]),
    );
    const names = Object.keys(of);
    return (names.length > 0 ? names : [null]).map((figure) => ({
      job,
      ...columns,
      figure,
      mean: figure && of[figure]?.mean,
      std: figure && of[figure]?.std,
      succeeded,
      failed,
      unfinished,
    }));
  });
}
