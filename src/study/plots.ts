/** The curves of a report. */
import { valueAt } from "../schema/merge.ts";
import type { StudyPlot, StudySpec } from "../schema/study/spec.ts";
import { titled, units } from "../schema/study/units.ts";

import type { Ran, ReportPlot, ReportRow } from "./types.ts";

type Points = [x: number, y: number][];
type JobsAt = (row: ReportRow, job: string) => readonly Ran[];

export function plotsOf({ plots, table: { columns } }: StudySpec, rows: readonly ReportRow[], jobsAt: JobsAt) {
  const at = (name: string) => columns.findIndex((column) => column.name === name);
  /** Of a row, on either axis. */
  const place = (row: ReportRow, of: StudyPlot["x"] | StudyPlot["y"]): unknown => {
    if (typeof of !== "object" || "metric" in of) return undefined;
    return "field" in of ? row.point[of.field] : row.cells[at(of.column)]?.mean;
  };
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
          : pointsOf(of.map((row) => [place(row, x), place(row, y)])),
    }));
    const name = x === "epoch" ? x : "field" in x ? x.field.slice(x.field.indexOf(".") + 1) : x.column;
    return { title, x: name, y: titled("column" in y ? y.column : y.metric, unit), unit, logarithmic, series };
  });
}

const pointsOf = (all: readonly [x: unknown, y: unknown][]): Points =>
  all
    .filter((pair): pair is [number, number] => pair.every((value) => typeof value === "number"))
    .sort(([a], [b]) => a - b);

function seriesOf({ series, x, title }: StudyPlot, rows: readonly ReportRow[]) {
  // A study has rows that a scale may lack.
  const named = (name: string) => rows.filter((row) => row.name === name);
  if (series) return series.map(({ name, rows: of }) => ({ name, rows: of.flatMap(named) }));
  if (x !== "epoch") return [{ name: title, rows }];
  return rows.filter(({ planned }) => !planned).map((row) => ({ name: row.name, rows: [row] }));
}

/** Means over the runs that have the epoch. */
function overEpochs(jobs: readonly Ran[], metric: string, scale: number): Points {
  const byEpoch = new Map<number, number[]>();
  for (const { job, lines } of jobs) {
    if (job?.status !== "succeeded") continue;
    for (const line of lines) {
      const value = valueAt(line, metric);
      if (typeof value !== "number") continue;
      const epoch = line.epoch as number;
      byEpoch.set(epoch, [...(byEpoch.get(epoch) ?? []), value * scale]);
    }
  }
  return [...byEpoch]
    .sort(([a], [b]) => a - b)
    .map(([epoch, values]) => [epoch, values.reduce((a, b) => a + b, 0) / values.length]);
}
