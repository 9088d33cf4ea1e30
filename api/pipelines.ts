/** Pipelines over HTTP: graphs of jobs and sweeps, and the table of their results. */
import { createRoute, z } from "@hono/zod-openapi";
import type { Pipeline } from "../src/queue/pipelines/pipeline.ts";
import type { Pipelines } from "../src/queue/pipelines/pipelines.ts";
import type { ActionName } from "../src/schema/life.ts";
import { reportLines } from "../src/schema/report.ts";
import { toCsv } from "../src/store/series.ts";
import { keepOpen } from "./events.ts";
import * as examples from "./examples.ts";
import type { ImageChecks } from "./images.ts";
import { UnknownError } from "./problem.ts";
import {
  badQuery,
  conflict,
  found,
  guarded,
  idempotency,
  idempotencyOf,
  invalid,
  json,
  missingPipeline,
  newApp,
  params,
} from "./routes.ts";
import * as schemas from "./schemas.ts";

const tags = ["pipelines"];
const pipelineParams = z.object({
  id: params.shape.id.openapi({ param: { name: "id", in: "path" }, example: examples.pipelineId }),
});
const answered = (description: string) => json(schemas.pipeline, description, examples.seenPipeline);

const submitRoute = createRoute({
  method: "post",
  path: "/v1/pipelines",
  operationId: "submitPipeline",
  summary: "Submit a pipeline",
  tags,
  description:
    "Jobs by name; one with `from` runs when the pretrain job of that name has succeeded. A sweep runs the jobs for every " +
    "point and seed; a job that no swept field affects runs once. The failure of a branch does not affect the others.",
  request: {
    headers: idempotency,
    body: { required: true, ...json(schemas.pipelineSubmission, "the pipeline", examples.pipeline) },
  },
  responses: { 201: answered("accepted, with all its jobs"), ...invalid, ...guarded },
});
const listRoute = createRoute({
  method: "get",
  path: "/v1/pipelines",
  operationId: "listPipelines",
  summary: "List pipelines",
  tags,
  request: {
    query: z.object({
      limit: z.coerce.number().int().min(1).max(100).default(20),
      after: z.string().optional().describe("cursor: the `next` of the previous page"),
    }),
  },
  responses: {
    200: json(
      z.object({ pipelines: z.array(schemas.pipeline), next: z.string().nullable() }),
      "newest first; next: null on the last page",
      { pipelines: [examples.seenPipeline], next: null },
    ),
    ...badQuery,
    ...guarded,
  },
});
const getRoute = createRoute({
  method: "get",
  path: "/v1/pipelines/{id}",
  operationId: "getPipeline",
  summary: "Show a pipeline",
  tags,
  request: { params: pipelineParams },
  responses: { 200: answered("its jobs and their results"), ...missingPipeline, ...guarded },
});
const resultsRoute = createRoute({
  method: "get",
  path: "/v1/pipelines/{id}/results",
  operationId: "getResults",
  tags,
  summary: "Show the results of a pipeline in one table",
  request: { params: pipelineParams, query: z.object({ format: z.enum(["json", "csv"]).default("json") }) },
  responses: {
    200: {
      description: "a row per job and point; mean and sample standard deviation over the seeds",
      content: {
        "application/json": {
          schema: z.object({ results: z.array(schemas.resultRow) }),
          example: { results: examples.results },
        },
        "text/csv": { schema: z.string(), example: toCsv(reportLines(examples.results)) },
      },
    },
    ...missingPipeline,
    ...badQuery,
    ...guarded,
  },
});
const actionRoute = <N extends ActionName>(name: N, summary: string) =>
  createRoute({
    method: "post",
    path: `/v1/pipelines/{id}/${name}`,
    operationId: `${name}Pipeline`,
    summary,
    tags,
    request: { params: pipelineParams },
    responses: { 200: answered("applied to every job whose status allows it"), ...missingPipeline, ...guarded },
  });
const deleteRoute = createRoute({
  method: "delete",
  path: "/v1/pipelines/{id}",
  operationId: "deletePipeline",
  tags,
  summary: "Delete a finished pipeline and its jobs",
  request: { params: pipelineParams },
  responses: { 204: { description: "deleted" }, ...missingPipeline, ...conflict, ...guarded },
});

export function pipelineRoutes(pipelines: Pipelines, images: ImageChecks) {
  const known = (pipeline: Pipeline | undefined, id: string) => found(pipeline, id, "pipeline");
  const act = async (id: string, name: ActionName) => known(await pipelines.act(id, name), id);
  return newApp()
    .openapi(submitRoute, async (c) => {
      keepOpen(c);
      const body = c.req.valid("json");
      const { name = null, priority = 0, metadata = {}, ...spec } = body;
      const key = idempotencyOf(c.req.valid("header"), body);
      const submission = { spec, name, priority, metadata, idempotency: key, check: images.pipeline };
      return c.json(await pipelines.submit(submission), 201);
    })
    .openapi(listRoute, async (c) => {
      const { limit, after } = c.req.valid("query");
      return c.json(await pipelines.list(limit, after), 200);
    })
    .openapi(getRoute, async (c) => {
      const { id } = c.req.valid("param");
      return c.json(known(await pipelines.get(id), id), 200);
    })
    .openapi(resultsRoute, async (c) => {
      const { id } = c.req.valid("param");
      const { results } = known(await pipelines.get(id), id);
      const headers = { "content-type": "text/csv; charset=utf-8" };
      if (c.req.valid("query").format === "csv") return c.body(toCsv(reportLines(results)), 200, headers) as never;
      return c.json({ results }, 200);
    })
    .openapi(actionRoute("pause", "Pause a pipeline"), async (c) =>
      c.json(await act(c.req.valid("param").id, "pause"), 200),
    )
    .openapi(actionRoute("resume", "Resume a paused pipeline"), async (c) =>
      c.json(await act(c.req.valid("param").id, "resume"), 200),
    )
    .openapi(actionRoute("cancel", "Cancel a pipeline"), async (c) =>
      c.json(await act(c.req.valid("param").id, "cancel"), 200),
    )
    .openapi(actionRoute("retry", "Retry the failed and cancelled jobs of a pipeline"), async (c) =>
      c.json(await act(c.req.valid("param").id, "retry"), 200),
    )
    .openapi(deleteRoute, async (c) => {
      const { id } = c.req.valid("param");
      if (!(await pipelines.remove(id))) throw new UnknownError("pipeline", id);
      return c.body(null, 204);
    });
}
