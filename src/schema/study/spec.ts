/** A study: a question of a paper as a pipeline, with the table, plots and claims that its report has. */
import { z } from "zod";
import { pipelineSpec } from "../pipeline.ts";
import { type Unit, units } from "./units.ts";

export const scaleNames = ["minutes", "hours", "gpu"] as const;
export type ScaleName = (typeof scaleNames)[number];

const text = z.string().min(1).max(4000);
const label = z.string().min(1).max(80);
const dotted = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9]*(\.[A-Za-z0-9]+)*$/, "names with dots between: baselines.pixels.top1");
const { jobs, sweep } = pipelineSpec.shape;
const swept = sweep.unwrap().shape;
const point = swept.list.unwrap().element;

const studySweep = z.strictObject({
  ...swept,
  points: z
    .record(label, point)
    .optional()
    .describe("points by name, as `list` without names; a scale may change single fields of a point, or add points"),
  planned: z
    .record(label, point)
    .optional()
    .describe("points by name that are planned and not run: larger than any machine that is there"),
});

const overlay = z.strictObject({
  about: text.optional().describe("what is run at this scale, and how long it takes"),
  jobs: z
    .record(z.string(), z.strictObject({ spec: z.record(z.string(), z.unknown()) }))
    .default({})
    .describe("fields of the jobs' specs, merged over the pipeline's"),
  sweep: studySweep.partial().default({}).describe("merged over the pipeline's; lists replace lists"),
});

const column = z
  .strictObject({
    name: label,
    job: z.string().describe("a job of the pipeline"),
    figure: dotted.optional().describe("of its result: top1, imagesPerSecond"),
    metric: dotted.optional().describe("of its metrics by epoch: knn, top1"),
    take: z
      .enum(["last", "first", "best", "dip", "equalTime"])
      .optional()
      .describe(
        "of a metric's values over the epochs; dip: the largest fall below an earlier one; equalTime: linearly between two epochs, " +
          "when the fastest run of the seed ended, by the pace of each; unset: last",
      ),
    plan: z.enum(["memory"]).optional().describe("what the plan of the run said before it started"),
    unit: z.enum(Object.keys(units) as [Unit, ...Unit[]]).default("number"),
    better: z.enum(["higher", "lower"]).default("higher"),
  })
  .refine(({ figure, metric, plan }) => [figure, metric, plan].filter(Boolean).length === 1, {
    error: "exactly one of figure, metric and plan",
  })
  .refine(({ metric, take }) => metric !== undefined || take === undefined, {
    path: ["take"],
    error: "unset, without metric",
  });

const plot = z.strictObject({
  title: label,
  x: z
    .union([z.literal("epoch"), z.strictObject({ field: z.string() }), z.strictObject({ column: label })])
    .describe("epoch, a swept field, or a column"),
  y: z
    .union([z.strictObject({ column: label }), z.strictObject({ job: z.string(), metric: dotted })])
    .describe("a column; over epochs a metric of a job"),
  unit: z
    .enum(Object.keys(units) as [Unit, ...Unit[]])
    .optional()
    .describe("of a metric; a column has its own"),
  logarithmic: z.boolean().default(false).describe("the x axis"),
  series: z
    .array(z.strictObject({ name: label, rows: z.array(label).min(1) }))
    .min(1)
    .optional()
    .describe("rows of a curve each; unset: one curve, over epochs one a row"),
});

export const studySpec = z.strictObject({
  title: label.describe("of the report"),
  question: text,
  notes: text.optional().describe("how it differs from the paper"),
  paper: z.strictObject({
    citation: text,
    setting: text.optional().describe("what its figures are of"),
    figures: z
      .record(label, z.record(label, z.number()))
      .default({})
      .describe("by row and column, in the unit of the column"),
  }),
  pipeline: z.strictObject({ jobs, sweep: studySweep.default({}) }),
  scales: z.partialRecord(z.enum(scaleNames), overlay).default({}),
  table: z.strictObject({
    rows: z
      .array(
        z.strictObject({
          name: label,
          at: z
            .union([label, z.record(z.string(), z.unknown())])
            .describe("the name of a point, or swept fields and values that one point alone has"),
        }),
      )
      .min(1)
      .optional()
      .describe("unset: one for each point"),
    columns: z.array(column).min(1),
  }),
  plots: z.array(plot).default([]),
  claims: z
    .array(
      z.strictObject({
        better: label.describe("a row"),
        than: label.describe("a row"),
        in: label.describe("a column"),
        says: text.optional().describe("the paper's words"),
      }),
    )
    .default([]),
});
export type StudySpec = z.infer<typeof studySpec>;
export type StudyColumn = StudySpec["table"]["columns"][number];
export type StudyPlot = StudySpec["plots"][number];
