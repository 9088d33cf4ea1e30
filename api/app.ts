/** HTTP into queue entries. Loads no tensor library and opens no port. */
import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import type { Redis } from "ioredis";
import type { Jobs } from "../src/queue/jobs.ts";
import { fieldErrors, finalStatuses, type Job, type JobType, parseSpec, SpecError } from "../src/spec/job.ts";
import { events } from "./events.ts";
import { problem } from "./problem.ts";
import * as schemas from "./schemas.ts";

export interface AppDeps {
  jobs: Jobs;
  /** A connection of its own for a blocking read. */
  openReader: () => Redis;
}

const json = <T extends z.ZodType>(schema: T, description: string) => ({
  description,
  content: { "application/json": { schema } },
});
const failure = (description: string) => ({
  description,
  content: { "application/problem+json": { schema: schemas.problemBody } },
});
const params = z.object({ id: z.string() });

const submitRoute = createRoute({
  method: "post",
  path: "/v1/jobs",
  request: { body: { required: true, ...json(schemas.submission, "the job") } },
  responses: { 201: json(schemas.job, "accepted"), 422: failure("every bad field, what was got and what is allowed") },
});
const listRoute = createRoute({
  method: "get",
  path: "/v1/jobs",
  request: { query: z.object({ limit: z.coerce.number().int().min(1).max(1000).default(100) }) },
  responses: { 200: json(z.object({ jobs: z.array(schemas.job) }), "newest first") },
});
const getRoute = createRoute({
  method: "get",
  path: "/v1/jobs/{id}",
  request: { params },
  responses: { 200: json(schemas.job, "the job"), 404: failure("no such job") },
});
const cancelRoute = createRoute({
  method: "post",
  path: "/v1/jobs/{id}/cancel",
  request: { params },
  responses: {
    200: json(schemas.job, "cancelled, or will be between two steps"),
    404: failure("no such job"),
    409: failure("the job is over"),
  },
});

export function createApp({ jobs, openReader }: AppDeps) {
  const app = new OpenAPIHono({
    defaultHook: (result, c) => {
      if (result.success) return;
      const given = (result as { data?: unknown }).data;
      return problem(c, 422, "the request is not valid", fieldErrors("", given, result.error.issues));
    },
  });
  const unknown = (id: string) => `there is no job ${id}`;

  app.onError((error, c) => {
    if ("getResponse" in error) return problem(c, (error as unknown as { status: 400 }).status, error.message);
    console.error(error);
    return problem(c, 500, "internal error");
  });
  app.notFound((c) => problem(c, 404, `there is nothing at ${c.req.path}`));

  app.get("/livez", (c) => c.text("ok"));

  app.openapi(submitRoute, async (c) => {
    const { type, name, spec } = c.req.valid("json");
    try {
      const parsed = parseSpec(type as JobType, spec);
      if ("from" in parsed) {
        const source = await jobs.get(parsed.from);
        const refuse = (allowed: string) => new SpecError([{ field: "spec.from", got: parsed.from, allowed }]);
        if (source?.type !== "pretrain") throw refuse("the id of a pretrain job");
        if (source.status === "failed" || source.status === "cancelled") {
          throw refuse(`a pretrain job that can end well (the status of this one is ${source.status})`);
        }
      }
      return c.json((await jobs.submit(type as JobType, name ?? null, parsed)) as never, 201);
    } catch (error) {
      if (error instanceof SpecError) return problem(c, 422, "the spec is not valid", error.errors) as never;
      throw error;
    }
  });

  app.openapi(listRoute, async (c) => c.json({ jobs: await jobs.list(c.req.valid("query").limit) } as never, 200));

  app.openapi(getRoute, async (c) => {
    const { id } = c.req.valid("param");
    const job = await jobs.get(id);
    return (job ? c.json(job as Job, 200) : problem(c, 404, unknown(id))) as never;
  });

  app.openapi(cancelRoute, async (c) => {
    const { id } = c.req.valid("param");
    const job = await jobs.get(id);
    if (!job) return problem(c, 404, unknown(id)) as never;
    if (finalStatuses.includes(job.status) && job.status !== "cancelled") {
      return problem(c, 409, `the job is ${job.status} and cannot be cancelled`) as never;
    }
    await jobs.cancel(id);
    return c.json((await jobs.get(id)) as never, 200);
  });

  app.get("/v1/jobs/:id/events", async (c) => {
    const id = c.req.param("id");
    if (!(await jobs.get(id))) return problem(c, 404, unknown(id));
    return events(c, jobs, openReader(), id);
  });

  // Registered apart: an SSE stream has no JSON body for the typed handlers to check.
  app.openAPIRegistry.registerPath({
    method: "get",
    path: "/v1/jobs/{id}/events",
    request: { params, headers: z.object({ "last-event-id": z.string().optional() }) },
    responses: {
      200: {
        description: "status, progress and log events, to the job's end",
        content: { "text/event-stream": { schema: z.string() } },
      },
      404: failure("no such job"),
    },
  });
  app.doc31("/openapi.json", { openapi: "3.1.0", info: { title: "mocod", version: "0.1.0" } });
  return app;
}
