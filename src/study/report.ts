/** The report of a study: a pure function of the study and of what its jobs have stored. */
import { type Layout, layoutOf, type Row } from "../schema/study/layout.ts";
import type { StudyColumn, StudySpec } from "../schema/study/spec.ts";
import { units } from "../schema/study/units.ts";
import { sampleOf } from "../util/sample.ts";
import { claimsOf } from "./claims.ts";
import { atEqualTime } from "./equal_time.ts";
import { plotsOf } from "./plots.ts";
import { runOf } from "./run.ts";
import { storedValue } from "./stored.ts";
import type { Cell, Ran, ReportRow, StudyPlan, StudyRecord, StudyReport } from "./types.ts";

/** Whether a column or a plot needs the metrics of runs. */
export const needsLines = ({ table, plots }: StudySpec): boolean =>
  table.columns.some(({ metric }) => metric !== undefined) || plots.some(({ x }) => x === "epoch");

export function studyReport(
  record: StudyRecord,
  pipeline: { id: string; createdAt: string; finishedAt: string | null },
  ran: readonly Ran[],
): StudyReport {
  const { spec, scale } = record;
  const layout = layoutOf(spec, scale);
  const { columns } = spec.table;
  const figures = columns.map((column) => {
    const runs = layout.rows.map((row) => jobsAt(row, column.job, layout, ran));
    const figureOf = valuesOf(column, runs.flat(), record.plans);
    return layout.rows.map((row, i) => {
      const found = (runs[i] ?? []).map((of) => ({ seed: of.seed, value: figureOf(of) }));
      return cellOf(column, row.planned ? [{ seed: null, value: plannedValue(column, row, record.plans) }] : found);
    });
  });
  const rows = layout.rows.map((row, i): ReportRow => {
    const paper = spec.paper.figures[row.name];
    return {
      ...row,
      cells: figures.map((cells) => cells[i] ?? null),
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
    command: commandOf(record),
    paper: { citation: spec.paper.citation, setting: spec.paper.setting ?? null },
    columns: columns.map((column) => {
      const { name: title, unit, better } = column;
      return { name: title, of: sourceOf(column), unit, better };
    }),
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

function commandOf({ name, scale, set = {} }: StudyRecord): string {
  const changes = Object.entries(set).map(([field, value]) => ` --set ${field}=${plain(value)}`);
  return `mocod study run ${name ?? "study.yaml"}${scale === null ? "" : ` --scale ${scale}`}${changes.join("")}`;
}
const plain = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

/** The jobs of one name at a row, one a seed: those at the swept fields of it and of what it works on. */
function jobsAt({ point, planned }: Row, name: string, { pipeline: { jobs } }: Layout, ran: readonly Ran[]): Ran[] {
  if (planned) return [];
  const lineage = [name, jobs[name]?.from];
  const own = Object.entries(point).filter(([field]) => lineage.includes(field.slice(0, field.indexOf("."))));
  const key = keyOf(own);
  return ran.filter(({ node, params }) => node === name && keyOf(Object.entries(params)) === key);
}
const keyOf = (fields: [string, unknown][]): string => JSON.stringify(fields.toSorted(([a], [b]) => (a < b ? -1 : 1)));

function cellOf({ unit }: StudyColumn, figures: readonly { seed: number | null; value: unknown }[]): Cell | null {
  const found = figures.flatMap(({ seed, value }) =>
    typeof value === "number" ? [{ seed, value: value * units[unit] }] : [],
  );
  if (found.length === 0) return null;
  const values = found.map(({ value }) => value);
  return { ...sampleOf(values), values, seeds: found.map(({ seed }) => seed) };
}

/** What was planned of a row that is not run. */
const plannedValue = ({ job, plan }: StudyColumn, { name }: Row, plans: readonly StudyPlan[]): unknown =>
  plan && plans.find(({ only }) => only?.row === name && only.job === job)?.[plan];

const EQUAL_TIME = "equalTime";

/** The value of a column for a run; one at equal time depends on the runs of the other rows too. */
function valuesOf(column: StudyColumn, runs: readonly Ran[], plans: readonly StudyPlan[]): (ran: Ran) => unknown {
  if (column.take !== EQUAL_TIME) return (ran) => storedValue(column, ran, plans);
  const values = atEqualTime(runs, column.metric as string);
  return ({ id }) => values.get(id);
}

/** Where the figures of a column are from. */
function sourceOf({ job, figure, metric, take = "last", plan }: StudyColumn): string {
  if (figure !== undefined) return `${job}: ${figure}`;
  if (plan) return `${job}: planned ${plan}`;
  return `${job}: ${metric}, ${take === EQUAL_TIME ? "when the fastest run of the seed ended" : `${take} epoch`}`;
}
