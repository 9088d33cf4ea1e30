/** A study at one of its scales: the pipeline that it runs, and which point of the sweep each row of its table is. */
import { type FieldError, SpecError } from "../job.ts";
import { isRecord, merge } from "../merge.ts";
import { expand, type PipelineSpec, type PlannedJob, type Point, pointsOf } from "../pipeline.ts";
import { type ScaleName, type StudySpec, scaleNames } from "./spec.ts";

export interface Row {
  readonly name: string;
  readonly point: Point;
  /** Its memory is planned, and nothing of it is run. */
  readonly planned: boolean;
}

export interface Layout {
  readonly about: string | null;
  readonly pipeline: PipelineSpec;
  readonly rows: readonly Row[];
}

/** The scale that is asked for; null: the study has none. Throws SpecError where it has others. */
export function scaleOf({ scales }: StudySpec, asked: string | undefined): ScaleName | null {
  const has = scaleNames.filter((name) => scales[name]);
  if (asked === undefined) return has[0] ?? null;
  const found = has.find((name) => name === asked);
  if (found) return found;
  throw new SpecError([{ field: "scale", got: asked, allowed: has.join(", ") || "unset: the study has no scales" }]);
}

/** Throws SpecError where a row is not exactly one point, or the sweep names points in two ways. */
export function layoutOf(study: StudySpec, scale: ScaleName | null): Layout {
  const over = scale === null ? undefined : study.scales[scale];
  const jobs = merge(study.pipeline.jobs, over?.jobs) as StudySpec["pipeline"]["jobs"];
  const { points, planned = {}, ...plain } = merge(study.pipeline.sweep, over?.sweep) as StudySpec["pipeline"]["sweep"];
  if (points && plain.list) {
    const allowed = "points or list, not both";
    throw new SpecError([{ field: "pipeline.sweep.points", got: Object.keys(points), allowed }]);
  }
  const names = points && Object.keys(points);
  const sweep = { ...plain, ...(points && { list: Object.values(points) }) };
  const named = pointsOf(sweep).map((point, i, all): Row => {
    // Each point of the list is followed by its combinations with the grid.
    const base = names?.[Math.floor((i * names.length) / all.length)];
    const fields = Object.entries(point).filter(([field]) => base === undefined || field in (plain.grid ?? {}));
    const name = [...(base === undefined ? [] : [base]), ...fields.map(assigned)].join(", ") || "all";
    return { name, point, planned: false };
  });
  const all = [...named, ...Object.entries(planned).map(([name, point]): Row => ({ name, point, planned: true }))];
  return { about: over?.about ?? null, pipeline: { jobs, sweep }, rows: rowsOf(study, all) };
}

/** Jobs of rows that are planned and not run. */
export type PlannedOnly = readonly { readonly row: string; readonly job: PlannedJob }[];

/** The pretrain jobs of the rows that are planned and not run. Throws SpecError with the bad fields of the first bad row. */
export function plannedOnly({ pipeline, rows }: Layout): PlannedOnly {
  const jobs = Object.fromEntries(Object.entries(pipeline.jobs).filter(([, { type }]) => type === "pretrain"));
  const planned = rows.filter((row) => row.planned);
  return planned.flatMap(({ name: row, point }) => {
    try {
      return expand({ jobs, sweep: { list: [point] } }, () => "").map((job) => ({ row, job }));
    } catch (error) {
      if (!(error instanceof SpecError)) throw error;
      throw new SpecError(
        error.errors.map((of) => ({ ...of, field: of.field.replace(/^sweep.*/, `sweep.planned.${row}`) })),
      );
    }
  });
}

const assigned = ([field, value]: [string, unknown]): string =>
  `${field.slice(field.lastIndexOf(".") + 1)} ${JSON.stringify(value)}`;

function rowsOf({ table: { rows } }: StudySpec, named: readonly Row[]): Row[] {
  if (!rows) return [...named];
  const errors: FieldError[] = [];
  const found = rows.flatMap(({ name, at }, i): Row[] => {
    const fits = named.filter((one) => isAt(one, at));
    if (fits.length === 1) return [{ ...(fits[0] as Row), name }];
    const allowed = `one point of the sweep (this is ${fits.length}): ${named.map((one) => one.name).join("; ")}`;
    errors.push({ field: `table.rows.${i}.at`, got: at, allowed });
    return [];
  });
  if (errors.length > 0) throw new SpecError(errors);
  return found;
}

function isAt({ name, point }: Row, at: unknown): boolean {
  if (!isRecord(at)) return name === at;
  return Object.entries(at).every(([field, value]) => JSON.stringify(point[field]) === JSON.stringify(value));
}
