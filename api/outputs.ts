/** What a job leaves: metrics, steps, logs, checkpoints, files. */
import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { Fleet } from "../src/queue/fleet.ts";
import type { JobEvent } from "../src/queue/records/record.ts";
import type { Records } from "../src/queue/records/records.ts";
import type { Manifest, RunStore } from "../src/store/run_store.ts";
import { downsample, latest, type Step, toCsv } from "../src/store/series.ts";
import * as examples from "./examples.ts";
import { problem } from "./problem.ts";
import { badQuery, found, guarded, json, missing, missingFile, newApp, noSuchBytes, params } from "./routes.ts";
import * as schemas from "./schemas.ts";

const format = z.enum(["json", "csv"]).default("json");
const points = z.coerce.number().int().min(1).max(100_000);
const lines = z.object({ lines: z.array(z.record(z.string(), z.unknown())) });

const tags = ["outputs"];

/** As JSON, or as CSV where that is asked for. */
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
const answer = (c: Context, of: "json" | "csv", list: readonly object[]): Response =>
  of === "csv" ? c.body(toCsv(list), 200, { "content-type": "text/csv; charset=utf-8" }) : c.json({ lines: list });

const metricsRoute = createRoute({
  method: "get",
  path: "/v1/jobs/{id}/metrics",
  operationId: "getMetrics",
  summary: "Figures by epoch",
  tags,
  request: {
    params,
    query: z.object({
      format,
      points: points
        .optional()
        .describe("at most so many lines, of the latest figures of some epochs; unset: every epoch"),
    }),
  },
  responses: series("one line an epoch", { epoch: 3, step: 2718, loss: 5.213, knn: 0.71, seconds: 41.2 }),
});
const stepsRoute = createRoute({
  method: "get",
  path: "/v1/jobs/{id}/steps",
  operationId: "getSteps",
  summary: "Figures by step",
  tags,
  request: {
    params,
    query: z.object({
      format,
      points: points.default(1000).describe("at most so many lines, of means"),
    }),
  },
  responses: series("one line a step of the epochs that have ended, or the means of some", {
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
  summary: "What was said of a job",
  tags,
  request: { params },
  responses: {
    200: json(
      z.object({ lines: z.array(z.object({ at: z.string(), event: z.string(), message: z.string() })) }),
      "what was said of the job, and how its status changed; oldest first",
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
  summary: "List what a job left",
  tags,
  request: { params },
  responses: {
    200: json(z.object({ files: z.array(z.string()) }), "names, to be downloaded below this", {
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
    200: json(z.object({ workers: z.array(schemas.worker) }), "those that are alive", { workers: [examples.worker] }),
    ...guarded,
  },
});

async function stepsOf(run: RunStore): Promise<Step[]> {
  const names = (await run.names()).filter((name) => name.startsWith("steps/"));
  return (await Promise.all(names.map((name) => run.readLines<Step>(name)))).flat();
}

/** A stream's entry id begins with its time in milliseconds. */
const timeOf = (id: string): string => new Date(Number(id.split("-")[0])).toISOString();

/** Not that there is nothing to warn of. */
const isSaid = ({ type, data }: JobEvent): boolean => type !== "warnings" || (Array.isArray(data) && data.length > 0);

function logLine({ id, type, data }: JobEvent) {
  if (type !== "status") {
    return { at: timeOf(id), event: type, message: Array.isArray(data) ? data.join("; ") : String(data) };
  }
  const { status, reason } = data as { status: string; reason?: string };
  return { at: timeOf(id), event: type, message: reason === undefined ? status : `${status}: ${reason}` };
}

/** The SHA-256 of a file, where one is written down. */
async function sumOf(run: RunStore, name: string): Promise<string | undefined> {
  const checkpoint = name.match(/^checkpoints\/(.+\.safetensors)$/)?.[1];
  if (checkpoint) return (await run.checkpoints()).find(({ file }) => file === checkpoint)?.sha256;
  return (await run.readJson<Manifest>("manifest.json"))?.files[name]?.sha256;
}

/** `bytes=from-to`, `bytes=from-`, `bytes=-last`; undefined: the whole; null: no such bytes. */
function rangeOf(header: string | undefined, size: number): { from: number; to: number } | undefined | null {
  const [, first = "", last = ""] = header?.match(/^bytes=(\d*)-(\d*)$/) ?? [];
  if (first === "" && last === "") return undefined; // none, or one that may be ignored (RFC 9110, 14.2)
  const from = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const to = first === "" || last === "" ? size - 1 : Math.min(size - 1, Number(last));
  return from <= to && from < size ? { from, to } : null;
}

async function download(c: Context, run: RunStore, name: string): Promise<Response> {
  // Only what a list would name: nothing above the run's own folder can be meant.
  const file = (await run.names()).includes(name) ? await run.open(name) : undefined;
  if (!file) return problem(c, 404, `run ${run.id} has no file ${name}`);
  const sum = await sumOf(run, name);
  const headers: Record<string, string> = {
    "content-type": "application/octet-stream",
    "content-disposition": `attachment; filename="${name.slice(name.lastIndexOf("/") + 1)}"`,
    "accept-ranges": "bytes",
    ...(sum && { etag: `"${sum}"` }),
  };
  if (sum && c.req.header("if-none-match")?.includes(`"${sum}"`)) return c.body(null, 304, headers);
  const condition = c.req.header("if-range");
  const wanted = condition === undefined || condition === headers.etag ? c.req.header("range") : undefined;
  const range = rangeOf(wanted, file.size);
  if (range === null) {
    const response = problem(c, 416, `the file has ${file.size} bytes`);
    response.headers.set("content-range", `bytes */${file.size}`);
    return response;
  }
  if (range === undefined) return new Response(file.body, { headers });
  const { from, to } = range;
  const partial = { ...headers, "content-range": `bytes ${from}-${to}/${file.size}` };
  return new Response(file.body.slice(from, to + 1), { status: 206, headers: partial });
}

export function outputRoutes(records: Records, fleet: Fleet) {
  /** The run of a job. Throws UnknownError where there is no such job. */
  const runOf = async (id: string): Promise<RunStore> => {
    found(await records.get(id), id);
    return records.run(id);
  };
  const routes = newApp()
    .openapi(metricsRoute, async (c) => {
      const run = await runOf(c.req.valid("param").id);
      const { format: of, points } = c.req.valid("query");
      // CSV or JSON: no one type for the client, who asks for JSON.
      if (of === "csv" || points !== undefined) {
        return answer(c, of, latest(await run.readLines<object>("metrics.jsonl"), points)) as never;
      }
      // The lines are JSON already; parsed and written again, those of a long run would cost 2 ms.
      const text = `{"lines":[${(await run.readTexts("metrics.jsonl")).join(",")}]}`;
      return c.body(text, 200, { "content-type": "application/json" }) as never;
    })
    .openapi(stepsRoute, async (c) => {
      const run = await runOf(c.req.valid("param").id);
      const { format: of, points } = c.req.valid("query");
      return answer(c, of, downsample(await stepsOf(run), points)) as never;
    })
    .openapi(logsRoute, async (c) => {
      const { id } = c.req.valid("param");
      found(await records.get(id), id);
      return c.json({ lines: (await records.history(id)).filter(isSaid).map(logLine) }, 200);
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
  // Registered apart: a name has slashes, and bytes are no JSON for the typed handlers to check.
  const bytes = { "application/octet-stream": { schema: z.string(), example: '{"epoch":1,"loss":5.9}' } };
  routes.openAPIRegistry.registerPath({
    method: "get",
    path: "/v1/jobs/{id}/files/{name}",
    operationId: "downloadFile",
    tags,
    summary: "Download a file of a job",
    request: {
      params: params.extend({
        name: z.string().openapi({ example: "metrics.jsonl" }).describe("as the list names it, slashes included"),
      }),
      headers: z.object({ range: z.string().optional(), "if-none-match": z.string().optional() }),
    },
    responses: {
      200: { description: "the file", content: bytes },
      206: { description: "the bytes asked for", content: bytes },
      304: { description: "the ETag, its SHA-256, is the one that was given" },
      ...missingFile,
      ...noSuchBytes,
      ...guarded,
    },
  });
  return routes;
}
