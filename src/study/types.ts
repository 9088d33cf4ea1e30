/** A study's report, and what it is made of. */
import type { Job } from "../schema/job.ts";
import type { PlannedJob } from "../schema/pipeline.ts";
import type { Changes } from "../schema/study/changed.ts";
import type { ScaleName, StudySpec } from "../schema/study/spec.ts";
import type { Unit } from "../schema/study/units.ts";

/** What a worker said of pretrain jobs before the first of them started. */
export interface StudyPlan {
  /** The planned jobs that it is about. */
  readonly jobs: readonly string[];
  /** Bytes. */
  readonly memory: number;
  /** The row that is planned and not run, and its job in the pipeline; `jobs` is empty then. */
  readonly only?: { readonly row: string; readonly job: string } | undefined;
}

/** A study as it was run: kept with its pipeline, so that a later change of the file changes no report. */
export interface StudyRecord {
  /** Of a committed study; null: it was given as a whole. */
  readonly name: string | null;
  readonly scale: ScaleName | null;
  readonly spec: StudySpec;
  /** What this run changed in it. */
  readonly set?: Changes | undefined;
  readonly plans: readonly StudyPlan[];
  /** Why some are missing: no worker was running, or none answered in time; null: none is. */
  readonly unplanned: string | null;
}

/** A line of metrics.jsonl. */
export type Line = Readonly<Record<string, unknown>>;

/** A job of the pipeline with what it left. */
export interface Ran extends Pick<PlannedJob, "id" | "node" | "params" | "seed" | "spec"> {
  /** Undefined: deleted, or not submitted yet. */
  readonly job: Pick<Job, "status" | "result" | "error" | "startedAt" | "finishedAt"> | undefined;
  /** Of a pretrain job; empty where no column and no plot is of metrics. */
  readonly lines: readonly Line[];
}

export interface Cell {
  readonly mean: number;
  readonly deviation: number | null;
  /** In the order of `seeds`. */
  readonly values: readonly number[];
  readonly seeds: readonly (number | null)[];
}

export interface ReportColumn {
  readonly name: string;
  /** Where the figure is from: `linear: top1`. */
  readonly of: string;
  readonly unit: Unit;
  readonly better: "higher" | "lower";
}

export interface ReportRow {
  readonly name: string;
  /** The swept fields. */
  readonly point: Readonly<Record<string, unknown>>;
  /** Nothing of it is run: it has what was planned. */
  readonly planned: boolean;
  /** By column; null: no run has stored it. */
  readonly cells: readonly (Cell | null)[];
  /** By column; null: the paper has none. */
  readonly paper: readonly (number | null)[];
}

/** agrees, disagrees: the whole interval lies on one side; undecided: it contains 0; open: no interval yet. */
export type Standing = "agrees" | "disagrees" | "undecided" | "open";

export interface ReportClaim {
  readonly better: string;
  readonly than: string;
  readonly column: string;
  readonly unit: Unit;
  readonly says: string | null;
  /** Positive where `better` is better; null: no seed has both. */
  readonly difference: number | null;
  readonly interval: readonly [low: number, high: number] | null;
  /** Of each seed that has both. */
  readonly differences: readonly number[];
  readonly seeds: readonly (number | null)[];
  readonly few: boolean;
  readonly standing: Standing;
  /** The paper's; null: it has not both figures. */
  readonly paper: number | null;
}

export interface ReportPlot {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly unit: Unit;
  readonly logarithmic: boolean;
  /** Means over the seeds. */
  readonly series: readonly { readonly name: string; readonly points: readonly (readonly [x: number, y: number])[] }[];
}

export interface ReportFailure {
  readonly job: string;
  readonly point: Readonly<Record<string, unknown>>;
  readonly seed: number | null;
  readonly status: string;
  readonly error: string | null;
}

/** What differs between two runs of the same study: ids, times, machines. */
export interface ReportRun {
  readonly id: string;
  readonly createdAt: string;
  readonly finishedAt: string | null;
  /** Sum over the jobs of the seconds that each took. */
  readonly hours: number;
  readonly machines: readonly string[];
  readonly devices: readonly string[];
  readonly versions: readonly string[];
  readonly jobs: readonly {
    readonly id: string;
    readonly job: string;
    readonly seed: number | null;
    readonly status: string;
    readonly seconds: number | null;
  }[];
}

export interface StudyReport {
  readonly title: string;
  readonly question: string;
  readonly notes: string | null;
  readonly scale: ScaleName | null;
  readonly about: string | null;
  readonly command: string;
  readonly paper: { readonly citation: string; readonly setting: string | null };
  readonly columns: readonly ReportColumn[];
  readonly rows: readonly ReportRow[];
  readonly claims: readonly ReportClaim[];
  readonly plots: readonly ReportPlot[];
  /** Seeds that the study asks for; empty: those of the specs. */
  readonly seeds: readonly number[];
  readonly failures: readonly ReportFailure[];
  readonly unfinished: number;
  readonly run: ReportRun;
}
