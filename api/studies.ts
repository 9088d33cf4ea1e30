/** Studies over HTTP: those that are committed, runs of them and of one's own, and their reports. */
import { createRoute, z } from "@hono/zod-openapi";
import type { Jobs } from "../src/queue/jobs.ts";
import type { Plans } from "../src/queue/pipelines/plans.ts";
import { expand } from "../src/schema/pipeline.ts";
import { layoutOf } from "../src/schema/study/layout.ts";
import { scaleNames } from "../src/schema/study/spec.ts";
import { studyHtml } from "../src/study/html.ts";
import { studyMarkdown } from "../src/study/markdown.ts";
import type { StudyReport } from "../src/study/types.ts";
import { keepOpen } from "./events.ts";
import * as examples from "./examples.ts";
import type { ImageChecks } from "./images.ts";
import { badQuery, failure, found, guarded, idempotency, idempotencyOf, invalid, json, newApp } from "./routes.ts";
import * as study from "./study_examples.ts";
import { committedStudies, committedStudy } from "./study_files.ts";
import { planStudy } from "./study_plans.ts";
import { committed, report as reportSchema, run, submission } from "./study_schemas.ts";

const tags = ["studies"];
const missing = failure(404, "there is no such run of a study");
const params = z.object({
  id: z.string().openapi({ param: { name: "id", in: "path" }, example: examples.pipelineId }),
});

const listRoute = createRoute({
  method: "get",
  path: "/v1/studies",
  operationId: "listStudies",
  summary: "List studies and runs of studies",
  tags,
  request: {
    query: z.object({
      limit: z.coerce.number().int().min(1).max(100).default(20).describe("maximum number of runs"),
      after: z.string().optional().describe("cursor: the `next` of the previous page"),
    }),
  },
  responses: {
    200: json(
      z.object({ studies: z.array(committed), runs: z.array(run), next: z.string().nullable() }),
      "the committed studies, and runs, newest first; next: null on the last page",
      { studies: [study.committed], runs: [study.run], next: null },
    ),
    ...badQuery,
    ...guarded,
  },
});
const submitRoute = createRoute({
  method: "post",
  path: "/v1/studies",
  operationId: "runStudy",
  summary: "Run a study",
  tags,
  description:
    "A run of a study is a pipeline with the same id: `/v1/pipelines/{id}` shows, pauses, cancels, retries and deletes it. A worker " +
    "plans its jobs first; one that cannot have its memory is refused. Where no worker runs the study is accepted without a plan.",
  request: {
    headers: idempotency,
    body: { required: true, ...json(submission, "a committed study by name, or a whole one", study.submission) },
  },
  responses: { 201: json(run, "accepted, with all its jobs", study.run), ...invalid, ...guarded },
});
const getRoute = createRoute({
  method: "get",
  path: "/v1/studies/{id}",
  operationId: "getStudy",
  summary: "Show a run of a study",
  tags,
  request: { params },
  responses: { 200: json(run, "its state", study.run), ...missing, ...guarded },
});
const reportRoute = createRoute({
  method: "get",
  path: "/v1/studies/{id}/report",
  operationId: "getStudyReport",
  summary: "Report the results of a study",
  tags,
  description:
    "Made of what is stored by now. What differs when the study is run again is in `run` alone: ids, times, machines.",
  request: { params, query: z.object({ format: z.enum(["json", "html", "md"]).default("json") }) },
  responses: {
    200: {
      description: "table, claims and curves beside the paper's figures",
      content: {
        "application/json": { schema: reportSchema, example: study.report },
        "text/html": { schema: z.string(), example: "<!doctype html>…" },
        "text/markdown": { schema: z.string(), example: "# …" },
      },
    },
    ...missing,
    ...badQuery,
    ...guarded,
  },
});

let listed: z.input<typeof committed>[] | undefined;

/** What lists say of the committed studies. Each is expanded once, because the page asks every few seconds. */
function committedList(): z.input<typeof committed>[] {
  listed ??= [...committedStudies()].map(([name, spec]) => ({
    name,
    title: spec.title,
    question: spec.question,
    paper: spec.paper.citation,
    scales: scaleNames
      .filter((scale) => spec.scales[scale])
      .map((scale) => {
        const { about, pipeline } = layoutOf(spec, scale);
        let count = 0;
        return { scale, about, jobs: expand(pipeline, () => `run_${count++}`).length };
      }),
  }));
  return listed;
}

const texts = {
  html: { type: "text/html; charset=utf-8", make: studyHtml },
  md: { type: "text/markdown; charset=utf-8", make: studyMarkdown },
} as const;

export function studyRoutes({ studies, fleet }: Jobs, images: ImageChecks, plans: Plans) {
  return newApp()
    .openapi(listRoute, async (c) => {
      const { limit, after } = c.req.valid("query");
      return c.json({ studies: committedList(), ...(await studies.list(limit, after)) }, 200);
    })
    .openapi(submitRoute, async (c) => {
      keepOpen(c);
      const body = c.req.valid("json");
      const { name = null, spec, set, scale, priority = 0, metadata = {} } = body;
      const accepted = await studies.submit({
        name,
        spec: name === null ? spec : committedStudy(name),
        set,
        scale,
        priority,
        metadata,
        idempotency: idempotencyOf(c.req.valid("header"), body),
        check: images.pipeline,
        plan: (planned, only) => planStudy(planned, only, fleet, plans),
      });
      return c.json(accepted, 201);
    })
    .openapi(getRoute, async (c) => {
      const { id } = c.req.valid("param");
      return c.json(found(await studies.get(id), id, "run of a study"), 200);
    })
    .openapi(reportRoute, async (c) => {
      const { id } = c.req.valid("param");
      const report: StudyReport = found(await studies.report(id), id, "run of a study");
      const { format } = c.req.valid("query");
      if (format === "json") return c.json(report, 200);
      const { type, make } = texts[format];
      return c.body(make(report), 200, { "content-type": type }) as never;
    });
}
