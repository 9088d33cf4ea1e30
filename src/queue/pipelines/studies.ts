/**
 * Runs of studies. Each is a pipeline whose document holds the study as well, so pausing, retrying, recovery and deletion are
 * those of pipelines.
 */
import type { Redis } from "ioredis";
import type { Job } from "../../schema/job.ts";
import { SpecError } from "../../schema/job.ts";
import type { PlannedJob } from "../../schema/pipeline.ts";
import { type Changes, changedStudy } from "../../schema/study/changed.ts";
import { inStudy, parseStudy } from "../../schema/study/check.ts";
import { layoutOf, type PlannedOnly, plannedOnly, scaleOf } from "../../schema/study/layout.ts";
import type { ScaleName } from "../../schema/study/spec.ts";
import { needsLines, studyReport } from "../../study/report.ts";
import type { Line, Ran, StudyRecord, StudyReport } from "../../study/types.ts";
import { keys } from "../keys.ts";
import { pageOf } from "../records/list.ts";
import type { Records } from "../records/records.ts";
import { describePipeline, type Pipeline, type StoredPipeline } from "./pipeline.ts";
import type { PipelineSubmission, Pipelines } from "./pipelines.ts";

/** Runs whose metrics are read at a time. */
const READ_AT_ONCE = 16;

export interface StudySubmission extends Pick<PipelineSubmission, "priority" | "metadata" | "idempotency" | "check"> {
  /** Of a committed study; null: `spec` was given with the request. */
  readonly name: string | null;
  readonly spec: unknown;
  /** Fields of its jobs' specs that this run changes. */
  readonly set?: Changes | undefined;
  /** Unset: the first one that the study has. */
  readonly scale?: string | undefined;
  /**
   * Asks a worker about the jobs, and about those of rows that are planned only. Throws SpecError where one that is to run cannot
   * have its memory.
   */
  readonly plan: (jobs: readonly PlannedJob[], only: PlannedOnly) => Promise<Pick<StudyRecord, "plans" | "unplanned">>;
}

/** A run of a study, without its report. */
export interface StudyRun extends Pick<Pipeline, "id" | "status" | "createdAt" | "finishedAt" | "counts"> {
  /** Of the committed study; null: the study was given as a whole. */
  readonly study: string | null;
  readonly title: string;
  readonly scale: ScaleName | null;
  /** Bytes that the largest of its jobs was planned to take; null: `unplanned` says why it was not planned. */
  readonly plannedMemory: number | null;
  readonly unplanned: string | null;
}

export class Studies {
  constructor(
    private readonly redis: Redis,
    private readonly pipelines: Pipelines,
    private readonly records: Records,
  ) {}

  /**
   * Accepts a study at a scale and submits its jobs.
   *
   * @throws SpecError that names every invalid field of the study.
   */
  async submit({ name, spec: given, set = {}, scale: asked, plan, ...submission }: StudySubmission): Promise<StudyRun> {
    const committed = parseStudy(given);
    const scale = scaleOf(committed, asked);
    const spec = parseStudy(changedStudy(committed, scale, set));
    const layout = layoutOf(spec, scale);
    try {
      const { id } = await this.pipelines.submit({
        ...submission,
        spec: layout.pipeline,
        name: [spec.title, ...(scale === null ? [] : [`(${scale})`])].join(" "),
        study: async (jobs) => ({ name, scale, spec, set, ...(await plan(jobs, plannedOnly(layout))) }),
      });
      return (await this.get(id)) as StudyRun;
    } catch (error) {
      throw error instanceof SpecError ? inStudy(error, scale) : error;
    }
  }

  /** Reads a run; undefined where there is none, or the pipeline is no run of a study. */
  async get(id: string): Promise<StudyRun | undefined> {
    const stored = await this.pipelines.load(id);
    return stored?.study && runOf(stored, await this.pipelines.jobsOf(stored));
  }

  /**
   * Reads a page of runs, newest first.
   *
   * @throws UserError where `after` is not the cursor of a page.
   */
  async list(limit: number, after?: string): Promise<{ runs: StudyRun[]; next: string | null }> {
    const { ids, next } = await pageOf(this.redis, keys.studies, { limit, after });
    const runs = await Promise.all(ids.map((id) => this.get(id)));
    return { runs: runs.filter((run) => run !== undefined), next };
  }

  /** Makes the report of what is stored by now; undefined where there is no such run. */
  async report(id: string): Promise<StudyReport | undefined> {
    const stored = await this.pipelines.load(id);
    if (!stored?.study) return undefined;
    const found = await this.pipelines.jobsOf(stored);
    const { createdAt, finishedAt } = describePipeline(stored, found);
    const lines = needsLines(stored.study.spec) ? await this.linesOf(stored, found) : new Map<string, Line[]>();
    const ran = stored.jobs
      .map((planned, i): Ran => ({ ...planned, job: found[i], lines: lines.get(planned.id) ?? [] }))
      // A job of a submitted pipeline that does not exist was deleted.
      .filter(({ job }) => job !== undefined || !stored.submitted);
    return studyReport(stored.study, { id, createdAt, finishedAt }, ran);
  }

  private async linesOf({ jobs }: StoredPipeline, found: readonly (Job | undefined)[]): Promise<Map<string, Line[]>> {
    const ended = jobs.filter(({ type }, i) => type === "pretrain" && found[i]?.status === "succeeded");
    const lines = new Map<string, Line[]>();
    for (let at = 0; at < ended.length; at += READ_AT_ONCE) {
      await Promise.all(
        ended.slice(at, at + READ_AT_ONCE).map(async ({ id }) => {
          lines.set(id, await this.records.run(id).readLines<Line>("metrics.jsonl"));
        }),
      );
    }
    return lines;
  }
}

function runOf(stored: StoredPipeline, found: readonly (Job | undefined)[]): StudyRun | undefined {
  const { study } = stored;
  if (!study) return undefined;
  const { id, status, createdAt, finishedAt, counts } = describePipeline(stored, found);
  const plans = study.plans.filter(({ only }) => !only);
  return {
    id,
    study: study.name,
    title: study.spec.title,
    scale: study.scale,
    status,
    createdAt,
    finishedAt,
    counts,
    plannedMemory: plans.length > 0 ? Math.max(...plans.map(({ memory }) => memory)) : null,
    unplanned: study.unplanned,
  };
}
