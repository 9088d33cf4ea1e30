/** What a job has stored, for one column of the table. A run that has not succeeded has no figure. */
import { valueAt } from "../schema/merge.ts";
import type { StudyColumn } from "../schema/study/spec.ts";
import type { Ran, StudyPlan } from "./types.ts";

export function storedValue(
  { figure, metric, take, plan }: StudyColumn,
  { id, job, lines }: Ran,
  plans: readonly StudyPlan[],
): unknown {
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
