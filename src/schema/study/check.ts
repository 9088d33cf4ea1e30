/** Validates a study at each of its scales, before anything of it runs. */
import { type FieldError, fieldErrors, SpecError } from "../job.ts";
import { expand } from "../pipeline.ts";
import { methodNames, schemaOf } from "../pretrain.ts";
import type { JobType } from "../types.ts";
import { layoutOf, plannedOnly } from "./layout.ts";
import { type ScaleName, type StudySpec, scaleNames, studySpec } from "./spec.ts";

const baselines = ["pixels", "untrained"].map((name) => `baselines.${name}.top1`);
/** What a result has that a column may show. */
const figures: Record<JobType, readonly string[]> = {
  pretrain: ["loss", "knn", "untrainedKnn", "imagesPerSecond", "peakMemory", "seconds", "dataWait"],
  "linear-probe": ["top1", "top5", "knn", "seconds", ...baselines, "baselines.untrained.knn"],
  knn: ["top1", "top5", "seconds", ...baselines],
  "fine-tune": ["top1", "top5", "seconds", ...baselines],
  "zero-shot": ["top1", "top5", "seconds"],
  retrieval: [
    ...["text", "image"].flatMap((of) => ["at1", "at5", "at10", "medianRank"].map((name) => `${of}.${name}`)),
    "images",
    "texts",
    "seconds",
  ],
  embed: [],
  map: [],
  export: [],
};
const metrics = [
  ...new Set([
    "loss",
    "knn",
    "alignment",
    "spread.effectiveRank",
    "spread.uniformity",
    "spread.std",
    "recall.text.medianRank",
    "recall.image.medianRank",
    ...methodNames.flatMap((name) => schemaOf(name).metrics),
    ...methodNames.flatMap((name) => schemaOf(name).charts.flatMap(({ figures: drawn }) => drawn)),
  ]),
];

/** Validates a study at all of its scales. Throws SpecError with every bad field. */
export function parseStudy(given: unknown): StudySpec {
  const parsed = studySpec.safeParse(given);
  if (!parsed.success) throw new SpecError(fieldErrors("", given, parsed.error.issues));
  const study = parsed.data;
  const scales = scaleNames.filter((name) => study.scales[name]);
  const errors = [
    ...columnErrors(study),
    ...plotErrors(study),
    ...(scales.length > 0 ? scales : [null]).flatMap((scale) => errorsAt(study, scale)),
  ];
  if (errors.length === 0) errors.push(...rowErrors(study, scales.length > 0 ? scales : [null]));
  if (errors.length > 0) throw new SpecError(errors);
  return study;
}

/** The pipeline's own errors, where the study has its fields. */
function errorsAt(study: StudySpec, scale: ScaleName | null): FieldError[] {
  const strangers = Object.keys((scale && study.scales[scale]?.jobs) ?? {}).filter(
    (name) => !(name in study.pipeline.jobs),
  );
  if (strangers.length > 0) {
    const allowed = `jobs of the pipeline: ${Object.keys(study.pipeline.jobs).join(", ")}`;
    return strangers.map((got) => ({ field: `scales.${scale}.jobs`, got, allowed }));
  }
  try {
    let count = 0;
    const layout = layoutOf(study, scale);
    expand(layout.pipeline, () => `run_${count++}`);
    plannedOnly(layout);
    return [];
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    return inStudy(error, scale).errors;
  }
}

/** Errors of the pipeline that a study runs, by the fields of the study. */
export function inStudy(error: SpecError, scale: ScaleName | null): SpecError {
  return new SpecError(
    error.errors.map(({ field, got, allowed }) => ({
      field: /^(jobs|sweep)(\.|$)/.test(field) ? `pipeline.${field}` : field,
      got,
      allowed: scale === null ? allowed : `${allowed} (at scale ${scale})`,
    })),
  );
}

function columnErrors({ table: { columns }, pipeline: { jobs } }: StudySpec): FieldError[] {
  const errors = columns.flatMap(({ job, figure, metric, plan }, i): FieldError[] => {
    const field = `table.columns.${i}`;
    const type = jobs[job]?.type;
    if (!type) return [{ field: `${field}.job`, got: job, allowed: Object.keys(jobs).join(", ") }];
    if ((metric !== undefined || plan !== undefined) && type !== "pretrain") {
      return [{ field: `${field}.job`, got: job, allowed: "a pretrain job: others have no metrics and no plan" }];
    }
    if (figure !== undefined && !figures[type].includes(figure)) {
      return [
        { field: `${field}.figure`, got: figure, allowed: figures[type].join(", ") || `none: a ${type} has none` },
      ];
    }
    if (metric !== undefined && !metrics.includes(metric)) {
      return [{ field: `${field}.metric`, got: metric, allowed: metrics.join(", ") }];
    }
    return [];
  });
  const names = columns.map(({ name }) => name);
  return [...errors, ...twice(names).map((got) => ({ field: "table.columns", got, allowed: "a name once" }))];
}

const twice = (names: readonly string[]): string[] => names.filter((name, i) => names.indexOf(name) < i);

function plotErrors({ plots, table: { columns }, pipeline: { jobs } }: StudySpec): FieldError[] {
  const isColumn = (of: object): of is { column: string } => "column" in of;
  const names = columns.map(({ name }) => name);
  return plots.flatMap(({ x, y }, i): FieldError[] => {
    const at = `plots.${i}`;
    const unknown = (field: string, got: string): FieldError[] =>
      names.includes(got) ? [] : [{ field: `${at}.${field}.column`, got, allowed: names.join(", ") }];
    const errors = [
      ...(typeof x === "object" && isColumn(x) ? unknown("x", x.column) : []),
      ...(isColumn(y) ? unknown("y", y.column) : []),
    ];
    if ((x === "epoch") === isColumn(y)) {
      const allowed = x === "epoch" ? "a job and a metric, over epochs" : "a column; a metric is over epochs";
      errors.push({ field: `${at}.y`, got: y, allowed });
    }
    if (!isColumn(y) && jobs[y.job]?.type !== "pretrain") {
      const allowed = `a pretrain job: ${Object.keys(jobs).filter((name) => jobs[name]?.type === "pretrain")}`;
      errors.push({ field: `${at}.y.job`, got: y.job, allowed });
    }
    if (!isColumn(y) && !metrics.includes(y.metric)) {
      errors.push({ field: `${at}.y.metric`, got: y.metric, allowed: metrics.join(", ") });
    }
    return errors;
  });
}

/** Names of rows and columns that are not in the table. */
function rowErrors(study: StudySpec, scales: readonly (ScaleName | null)[]): FieldError[] {
  const { paper, claims, plots, table } = study;
  const rowsAt = scales.map((scale) => layoutOf(study, scale).rows.map(({ name }) => name));
  const columns = table.columns.map(({ name }) => name);
  const somewhere = [...new Set(rowsAt.flat())];
  const everywhere = somewhere.filter((name) => rowsAt.every((rows) => rows.includes(name)));
  const expect = (field: string, got: string, among: readonly string[]): FieldError[] =>
    among.includes(got) ? [] : [{ field, got, allowed: among.join("; ") }];
  return [
    ...rowsAt.flatMap((rows) => twice(rows).map((got) => ({ field: "table.rows", got, allowed: "a name once" }))),
    ...Object.entries(paper.figures).flatMap(([row, of]) => [
      ...expect("paper.figures", row, somewhere),
      ...Object.keys(of).flatMap((column) => expect(`paper.figures.${row}`, column, columns)),
    ]),
    ...claims.flatMap((claim, i) => [
      ...expect(`claims.${i}.better`, claim.better, everywhere),
      ...expect(`claims.${i}.than`, claim.than, everywhere),
      ...expect(`claims.${i}.in`, claim.in, columns),
    ]),
    ...plots.flatMap(({ series = [] }, i) =>
      series.flatMap(({ rows }, j) => rows.flatMap((row) => expect(`plots.${i}.series.${j}.rows`, row, somewhere))),
    ),
  ];
}
