/**
 * A metric at equal time: of each run when the fastest run of the same seed ended. A run's time is that of its own steps at
 * the pace that it has stored, so evaluations and checkpoints take none; the value is linear between two epochs.
 */
import { valueAt } from "../schema/merge.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import type { Ran } from "./types.ts";

type Points = readonly (readonly [seconds: number, value: number])[];

/** Seconds of training for a step; undefined: the run has stored no pace. */
function secondsOfStep({ spec, job }: Ran): number | undefined {
  const pace = job?.status === "succeeded" ? valueAt(job.result, "imagesPerSecond") : undefined;
  return typeof pace === "number" && pace > 0 ? (spec as PretrainSpec).batchSize / pace : undefined;
}

/** Of the steps in which a metric was measured: step 0 is the untrained encoder. */
function curveOf(ran: Ran, metric: string): Points {
  const step = secondsOfStep(ran);
  if (step === undefined) return [];
  return ran.lines.flatMap((line) => {
    const value = valueAt(line, metric);
    return typeof value === "number" ? [[step * (line.step as number), value] as const] : [];
  });
}

/** Undefined outside of the curve. */
function interpolated(points: Points, seconds: number): number | undefined {
  const next = points.findIndex(([at]) => at >= seconds);
  const [to, from] = [points[next], points[next - 1]];
  if (to?.[0] === seconds) return to[1];
  if (!to || !from) return undefined;
  return from[1] + ((to[1] - from[1]) * (seconds - from[0])) / (to[0] - from[0]);
}

/**
 * By id of each run that has a value.
 *
 * @param runs - Those of every row of the table.
 */
export function atEqualTime(runs: readonly Ran[], metric: string): ReadonlyMap<string, number> {
  const curves = runs
    .map((ran) => ({ ...ran, points: curveOf(ran, metric) }))
    .filter(({ points }) => points.length > 0);
  const ends = new Map<number | null, number>();
  for (const { seed, points } of curves) {
    const [end] = points.at(-1) as Points[number];
    ends.set(seed, Math.min(ends.get(seed) ?? end, end));
  }
  return new Map(
    curves.flatMap(({ id, seed, points }) => {
      const value = interpolated(points, ends.get(seed) as number);
      return value === undefined ? [] : [[id, value] as const];
    }),
  );
}
