/** The report of a study: a pure function of the study and of what its jobs have stored. */
import { valueAt } from "../schema/merge.ts";
import { type Layout, layoutOf, type Row } from "../schema/study/layout.ts";
import type { StudyColumn, StudySpec } from "../schema/study/spec.ts";
import { units } from "../schema/study/units.ts";
import { sampleOf } from "../util/sample.ts";
import { claimsOf } from "./claims.ts";
import { plotsOf } from "./plots.ts";
import { runOf } from "./run.ts";
import type { Cell, Ran, ReportRow, StudyPlan, StudyRecord, StudyReport } from "./types.ts";

/** Whether a column or a plot needs the metrics of runs. */
export const needsLines = ({ table, plots }: StudySpec): boolean =>
  table.columns.some(({ metric }) => metric !== undefined) || plots.some(({ x }) => x === "epoch");

export function studyReport(
  record: StudyRecord,
  pipeline: { id: string; createdAt: string; finishedAt: string | null },
  ran: readonly Ran[],
): StudyReport {
  const { spec, scale, name } = record;
  const layout = layoutOf(spec, scale);
  const { columns } = spec.table;
  const rows = layout.rows.map((row): ReportRow => {
    const paper = spec.paper.figures[row.name];
    return {
      ...row,
      cells: columns.map((column) => cellOf(column, jobsAt(row, column.job, layout, ran), record.plans)),
      paper: columns.map((column) => paper?.[column.name] ?? null),
    };
  });
  const gone = ran.filter(({ job }) => job?.status === "failed" || job?.status === "cancelled");
  const ended = ran.filter(({ job }) => job?.status === "succeeded").length + gone.length;
  return {
    title: spec.title,
    question: spec.question,
    notes: spec.notes ?? null,
    scale,
    about: layout.about,
    command: `mocod study run ${name ?? "study.yaml"}${scale === null ? "" : ` --scale ${scale}`}`,
    paper: { citation: spec.paper.citation, setting: spec.paper.setting ?? null },
    columns: columns.map(({ name: title, job, figure, metric, take = "last", plan, unit, better }) => ({
      name: title,
      of: `${job}: ${figure ?? (plan ? `planned ${plan}` : `${metric}, ${take} epoch`)}`,
      unit,
      better,
    })),
    rows,
    claims: claimsOf(spec, rows),
    plots: plotsOf(spec, rows, (row, job) => jobsAt(row, job, layout, ran)),
    seeds: layout.pipeline.sweep.seeds ?? [],
    failures: gone.map(({ node, params, seed, job }) => ({
      job: node,
      point: params,
      seed,
      status: job?.status ?? "",
      error: job?.error ?? null,
    })),
    unfinished: ran.length - ended,
    run: runOf(pipeline, ran),
  };
}

/** The jobs of one name at a row, one a seed: those at the swept fields of it and of what it works on. */
function jobsAt({ point }: Row, name: string, { pipeline: { jobs } }: Layout, ran: readonly Ran[]): Ran[] {
  const lineage = [name, jobs[name]?.from];
  const own = Object.entries(point).filter(([field]) => lineage.includes(field.slice(0, field.indexOf("."))));
  const key = keyOf(own);
  return ran.filter(({ node, params }) => node === name && keyOf(Object.entries(params)) === key);
}
const keyOf = (fields: [string, unknown][]): string => JSON.stringify(fields.toSorted(([a], [b]) => (a < b ? -1 : 1)));

function cellOf(column: StudyColumn, jobs: readonly Ran[], plans: readonly StudyPlan[]): Cell | null {
  const found = jobs.flatMap((ran) => {
    const value = storedValue(column, ran, plans);
    return typeof value === "number" ? [{ seed: ran.seed, value: value * units[column.unit] }] : [];
  });
  if (found.length === 0) return null;
  const values = found.map(({ value }) => value);
  return { ...sampleOf(values), values, seeds: found.map(({ seed }) => seed) };
}

/** What a job has stored for a column. A run that has not succeeded has no figure. */
function storedValue(
  { figure, metric, take, plan }: StudyColumn,
  { id, job, lines }: Ran,
  plans: readonly StudyPlan[],
) {
  if (plan) return plans.find(({ jobs }) => jobs.includes(id))?.[plan];
  if (job?.status !== "succeeded") return undefined;
  if (figure !== undefined) return valueAt(job.result, figure);
  return taken(
    lines.map((line) => valueAt(line, metric as string)).filter((value) => typeof value === "number"),
    take,
  );
}

function taken(values: readonly number[], take: StudyColumn["take"] = "last"): number | undefined {
  if (values.length === 0) return undefined;
  if (take === "best") return Math.max(...values);
  if (take === "dip") return Math.max(...values.map((value, i) => Math.max(...values.slice(0, i + 1)) - value));
  return take === "first" ? values[0] : values.at(-1);
}
