/** Schemas of studies in requests and responses. `parseStudy` validates the study itself. */
import { z } from "@hono/zod-openapi";
import { pipelineStatuses } from "../src/queue/pipelines/pipeline.ts";
import { jobStatuses } from "../src/schema/job.ts";
import { scaleNames } from "../src/schema/study/spec.ts";
import { units } from "../src/schema/study/units.ts";
import { metadata, priority } from "./schemas.ts";

const scale = z.enum(scaleNames);

export const submission = z
  .strictObject({
    name: z.string().min(1).max(100).optional().describe("of a committed study"),
    spec: z
      .record(z.string(), z.unknown())
      .optional()
      .describe("a study of one's own, as docs/studies.md describes it"),
    set: z
      .record(z.string(), z.unknown())
      .optional()
      .describe("fields of its jobs' specs that this run changes, by job and dotted name")
      .openapi({ example: { "pretrain.dataset.path": "/data/emoji/emoji.jsonl" } }),
    scale: scale.optional().describe("unset: the first that the study has"),
    priority: priority.optional(),
    metadata: metadata.optional(),
  })
  .refine(({ name, spec }) => (name === undefined) !== (spec === undefined), {
    path: ["name"],
    error: "either the name of a committed study, or spec",
  })
  .openapi("StudySubmission");

export const committed = z
  .object({
    name: z.string(),
    title: z.string(),
    question: z.string(),
    paper: z.string(),
    scales: z.array(z.object({ scale, about: z.string().nullable(), jobs: z.int() })),
  })
  .openapi("Study");

export const run = z
  .object({
    id: z.string().describe("of the pipeline that it is"),
    study: z.string().nullable().describe("name of the committed study; null: the study was given as a whole"),
    title: z.string(),
    scale: scale.nullable(),
    status: z.enum(pipelineStatuses),
    createdAt: z.string(),
    finishedAt: z.string().nullable(),
    counts: z.partialRecord(z.enum(jobStatuses), z.int()),
    plannedMemory: z.number().nullable().describe("bytes of the largest of its jobs; null: it was not planned"),
    unplanned: z.string().nullable().describe("why it was not planned, or not all of it"),
  })
  .openapi("StudyRun");

const seeds = z.array(z.int().nullable()).readonly();
const values = z.array(z.number()).readonly();
const unit = z.enum(Object.keys(units) as [keyof typeof units]);
const better = z.enum(["higher", "lower"]);
const point = z.record(z.string(), z.unknown());
const interval = z.tuple([z.number(), z.number()]).readonly().nullable();

export const report = z
  .object({
    title: z.string(),
    question: z.string(),
    notes: z.string().nullable(),
    scale: scale.nullable(),
    about: z.string().nullable(),
    command: z.string(),
    paper: z.object({ citation: z.string(), setting: z.string().nullable() }),
    columns: z.array(z.object({ name: z.string(), of: z.string(), unit, better })).readonly(),
    rows: z
      .array(
        z.object({
          name: z.string(),
          point,
          planned: z.boolean().describe("nothing of it is run: it has what was planned"),
          cells: z
            .array(
              z
                .object({
                  mean: z.number(),
                  deviation: z.number().nullable().describe("sample standard deviation; null for a single seed"),
                  values,
                  seeds,
                })
                .nullable(),
            )
            .readonly()
            .describe("by column; null: no run has stored it"),
          paper: z.array(z.number().nullable()).readonly(),
        }),
      )
      .readonly(),
    claims: z
      .array(
        z.object({
          better: z.string(),
          than: z.string(),
          column: z.string(),
          unit,
          says: z.string().nullable(),
          difference: z.number().nullable().describe("mean over the seeds; positive: the claim holds"),
          interval: interval.describe("95%, by Student's t on the differences of the seeds"),
          differences: values,
          seeds,
          few: z.boolean().describe("fewer than three seeds"),
          standing: z.enum(["agrees", "disagrees", "undecided", "open"]),
          paper: z.number().nullable(),
        }),
      )
      .readonly(),
    plots: z
      .array(
        z.object({
          title: z.string(),
          x: z.string(),
          y: z.string(),
          unit,
          logarithmic: z.boolean(),
          series: z
            .array(
              z.object({ name: z.string(), points: z.array(z.tuple([z.number(), z.number()]).readonly()).readonly() }),
            )
            .readonly(),
        }),
      )
      .readonly(),
    seeds: z.array(z.int()).readonly(),
    failures: z
      .array(
        z.object({
          job: z.string(),
          point,
          seed: z.int().nullable(),
          status: z.string(),
          error: z.string().nullable(),
        }),
      )
      .readonly(),
    unfinished: z.int(),
    run: z
      .object({
        id: z.string(),
        createdAt: z.string(),
        finishedAt: z.string().nullable(),
        hours: z.number().describe("sum over the jobs"),
        machines: z.array(z.string()).readonly(),
        devices: z.array(z.string()).readonly(),
        versions: z.array(z.string()).readonly(),
        jobs: z
          .array(
            z.object({
              id: z.string(),
              job: z.string(),
              seed: z.int().nullable(),
              status: z.string(),
              seconds: z.number().nullable(),
            }),
          )
          .readonly(),
      })
      .describe("all that differs when the study is run again"),
  })
  .openapi("StudyReport");
