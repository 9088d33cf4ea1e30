/** The curves of a report. */
import { isRecord } from "../schema/merge.ts";
import type { StudyPlot, StudySpec } from "../schema/study/spec.ts";
import { titled, units } from "../schema/study/units.ts";
import type { Ran, ReportPlot, ReportRow } from "./types.ts";

type Points = [x: number, y: number][];
type JobsAt = (row: ReportRow, job: string) => readonly Ran[];

export function plotsOf({ plots, table: { columns } }: StudySpec, rows: readonly ReportRow[], jobsAt: JobsAt) {
  const at = (name: string) => columns.findIndex((column) => column.name === name);
  return plots.map((plot): ReportPlot => {
    const { title, x, y, logarithmic } = plot;
    const unit = ("column" in y ? columns[at(y.column)]?.unit : plot.unit) ?? "number";
    const series = seriesOf(plot, rows).map(({ name, rows: of }) => ({
      name,
      points:
        "metric" in y
          ? overEpochs(
              of.flatMap((row) => jobsAt(row, y.job)),
              y.metric,
              units[unit],
            )
          : across(of),
    }));
    function across(of: readonly ReportRow[]): Points {
      return of
        .flatMap((row): Points => {
          const value = typeof x === "object" && "field" in x ? row.point[x.field] : columnOf(row, x);
          const mean = columnOf(row, y);
          return typeof value === "number" && mean !== undefined ? [[value, mean]] : [];
        })
        .sort(([a], [b]) => a - b);
    }
    const columnOf = (row: ReportRow, of: StudyPlot["x"] | StudyPlot["y"]): number | undefined =>
      typeof of === "object" && "column" in of ? row.cells[at(of.column)]?.mean : undefined;
    const name = x === "epoch" ? x : "field" in x ? x.field.slice(x.field.indexOf(".") + 1) : x.column;
    const yName = "column" in y ? y.column : y.metric;
    return { title, x: name, y: titled(yName, unit), unit, logarithmic, series };
  });
}

function seriesOf({ series, x, title }: StudyPlot, rows: readonly ReportRow[]) {
  // A study has rows that a scale may lack.
  const named = (name: string) => rows.filter((row) => row.name === name);
  if (series) return series.map(({ name, rows: of }) => ({ name, rows: of.flatMap(named) }));
  return x === "epoch" ? rows.map((row) => ({ name: row.name, rows: [row] })) : [{ name: title, rows }];
}

/** Means over the runs that have the epoch. */
function overEpochs(jobs: readonly Ran[], metric: string, scale: number): Points {
  const byEpoch = new Map<number, number[]>();
  for (const { job, lines } of jobs) {
    if (job?.status !== "succeeded") continue;
    for (const line of lines) {
      const value = metric.split(".").reduce<unknown>((of, name) => (isRecord(of) ? of[name] : undefined), line);
      if (typeof value !== "number") continue;
      const epoch = line.epoch as number;
      byEpoch.set(epoch, [...(byEpoch.get(epoch) ?? []), value * scale]);
    }
  }
  return [...byEpoch]
    .sort(([a], [b]) => a - b)
    .map(([epoch, values]) => [epoch, values.reduce((a, b) => a + b, 0) / values.length]);
}
