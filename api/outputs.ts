/** Outputs of jobs over HTTP: metrics, steps, logs, checkpoints, files. */
import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { Fleet } from "../src/queue/fleet.ts";
import type { JobEvent } from "../src/queue/records/record.ts";
import type { Records } from "../src/queue/records/records.ts";
import type { RunStore } from "../src/store/run_store.ts";
import { downsample, latest, type Step, toCsv } from "../src/store/series.ts";
import { download } from "./download.ts";
import * as examples from "./examples.ts";
import { badQuery, found, guarded, json, missing, missingFile, newApp, noSuchBytes, params } from "./routes.ts";
import * as schemas from "./schemas.ts";

const format = z.enum(["json", "csv"]).default("json");
const points = z.coerce.number().int().min(1).max(100_000);
const lines = z.object({ lines: z.array(z.record(z.string(), z.unknown())) });

const tags = ["outputs"];

/** Responses of a route that answers with JSON or CSV. */
const series = (description: string, example: Record<string, number>) => ({
  200: {
    description,
    content: {
      "application/json": { schema: lines, example: { lines: [example] } },
      "text/csv": { schema: z.string(), example: toCsv([example]) },
    },
  },
  ...missing,
  ...badQuery,
  ...guarded,
});
const answer = (c: Context, as: "json" | "csv", list: readonly object[]): Response =>
  as === "csv" ? c.body(toCsv(list), 200, { "content-type": "text/csv; charset=utf-8" }) : c.json({ lines: list });

const metricsRoute = createRoute({
  method: "get",
  path: "/v1/jobs/{id}/metrics",
  operationId: "getMetrics",
  summary: "Metrics by epoch",
  tags,
  request: {
    params,
    query: z.object({
      format,
      points: points
        .optional()
        .describe("maximum number of lines, each with the latest metrics of some epochs; unset: every epoch"),
    }),
  },
  responses: series("one line per epoch", { epoch: 3, step: 2718, loss: 5.213, knn: 0.71, seconds: 41.2 }),
});
const stepsRoute = createRoute({
  method: "get",
  path: "/v1/jobs/{id}/steps",
  operationId: "getSteps",
  summary: "Metrics by step",
  tags,
  request: {
    params,
    query: z.object({
      format,
      points: points.default(1000).describe("maximum number of lines, of means"),
    }),
  },
  responses: series("one line per step of the finished epochs, or means of consecutive steps", {
    epoch: 3,
    step: 2718,
    loss: 5.213,
    top1: 0.18,
    positive: 0.83,
    negative: 0.02,
    lr: 0.059,
  }),
});
const logsRoute = createRoute({
  method: "get",
  path: "/v1/jobs/{id}/logs",
  operationId: "getLogs",
  summary: "Show the log of a job",
  tags,
  request: { params },
  responses: {
    200: json(
      z.object({ lines: z.array(z.object({ at: z.string(), event: z.string(), message: z.string() })) }),
      "messages of the job and changes of its status, oldest first",
      { lines: [{ at: examples.job.createdAt, event: "status", message: "running" }] },
    ),
    ...missing,
    ...guarded,
  },
});
const checkpointsRoute = createRoute({
  method: "get",
  path: "/v1/jobs/{id}/checkpoints",
  operationId: "listCheckpoints",
  tags,
  summary: "List a run's checkpoints",
  request: { params },
  responses: {
    200: json(z.object({ checkpoints: z.array(schemas.checkpoint) }), "newest first", {
      checkpoints: [examples.checkpoint],
    }),
    ...missing,
    ...guarded,
  },
});
const filesRoute = createRoute({
  method: "get",
  path: "/v1/jobs/{id}/files",
  operationId: "listFiles",
  summary: "List the files of a job",
  tags,
  request: { params },
  responses: {
    200: json(z.object({ files: z.array(z.string()) }), "names, to be appended to this path for a download", {
      files: ["metrics.jsonl", `checkpoints/${examples.checkpoint.file}`],
    }),
    ...missing,
    ...guarded,
  },
});
const workersRoute = createRoute({
  method: "get",
  path: "/v1/workers",
  operationId: "listWorkers",
  summary: "List workers",
  tags: ["service"],
  responses: {
    200: json(z.object({ workers: z.array(schemas.worker) }), "live workers", { workers: [examples.worker] }),
    ...guarded,
  },
});

async function stepsOf(run: RunStore): Promise<Step[]> {
  const names = (await run.names()).filter((name) => name.startsWith("steps/"));
  return (await Promise.all(names.map((name) => run.readLines<Step>(name)))).flat();
}

/** Time of an event: the id of a stream entry begins with milliseconds since 1970. */
const timeOf = (id: string): string => new Date(Number(id.split("-")[0])).toISOString();

/** Hides empty lists of warnings. */
const isShown = ({ type, data }: JobEvent): boolean => type !== "warnings" || (Array.isArray(data) && data.length > 0);

function logLine({ id, type, data }: JobEvent) {
  if (type !== "status") {
    return { at: timeOf(id), event: type, message: Array.isArray(data) ? data.join("; ") : String(data) };
  }
  const { status, reason } = data as { status: string; reason?: string };
  return { at: timeOf(id), event: type, message: reason === undefined ? status : `${status}: ${reason}` };
}

export function outputRoutes(records: Records, fleet: Fleet) {
  /** Opens the run of a job; throws UnknownError where there is no such job. */
  const runOf = async (id: string): Promise<RunStore> => {
    found(await records.get(id), id);
    return records.run(id);
  };
  const routes = newApp()
    .openapi(metricsRoute, async (c) => {
      const run = await runOf(c.req.valid("param").id);
      const { format: as, points } = c.req.valid("query");
      // CSV or JSON, for which the typed client has no common type; it asks for JSON.
      if (as === "csv" || points !== undefined) {
        return answer(c, as, latest(await run.readLines<object>("metrics.jsonl"), points)) as never;
      }
      // The lines are JSON already: parsing and encoding those of a long run would take 2 ms.
      const text = `{"lines":[${(await run.readTexts("metrics.jsonl")).join(",")}]}`;
      return c.body(text, 200, { "content-type": "application/json" }) as never;
    })
    .openapi(stepsRoute, async (c) => {
      const run = await runOf(c.req.valid("param").id);
      const { format: as, points } = c.req.valid("query");
      return answer(c, as, downsample(await stepsOf(run), points)) as never;
    })
    .openapi(logsRoute, async (c) => {
      const { id } = c.req.valid("param");
      found(await records.get(id), id);
      return c.json({ lines: (await records.history(id)).filter(isShown).map(logLine) }, 200);
    })
    .openapi(checkpointsRoute, async (c) => {
      const run = await runOf(c.req.valid("param").id);
      return c.json({ checkpoints: await run.checkpoints() }, 200);
    })
    .openapi(filesRoute, async (c) => {
      const run = await runOf(c.req.valid("param").id);
      return c.json({ files: await run.names() }, 200);
    })
    .openapi(workersRoute, async (c) => c.json({ workers: await fleet.list() }, 200));

  routes.get("/v1/jobs/:id/files/:name{.+}", async (c) => {
    const { id, name } = c.req.param();
    return download(c, await runOf(id), name);
  });
  // Registered separately: a name has slashes, and typed handlers only check JSON bodies.
  const bytes = { "application/octet-stream": { schema: z.string(), example: '{"epoch":1,"loss":5.9}' } };
  routes.openAPIRegistry.registerPath({
    method: "get",
    path: "/v1/jobs/{id}/files/{name}",
    operationId: "downloadFile",
    tags,
    summary: "Download a file of a job",
    request: {
      params: params.extend({
        name: z.string().openapi({ example: "metrics.jsonl" }).describe("as listed, slashes included"),
      }),
      headers: z.object({ range: z.string().optional(), "if-none-match": z.string().optional() }),
    },
    responses: {
      200: { description: "the file", content: bytes },
      206: { description: "the bytes asked for", content: bytes },
      304: { description: "not modified: the ETag, its SHA-256, matches" },
      ...missingFile,
      ...noSuchBytes,
      ...guarded,
    },
  });
  return routes;
}
