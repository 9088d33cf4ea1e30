/** HTTP into queue entries. Loads no tensor library and opens no port. */
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { Redis } from "ioredis";
import type { Jobs } from "../src/queue/jobs.ts";
import { fieldErrors } from "../src/spec/job.ts";
import type { ApiKeys } from "../src/store/api_keys.ts";
import { VERSION } from "../src/util/version.ts";
import { addActions } from "./actions.ts";
import { addPage } from "./assets.ts";
import { events } from "./events.ts";
import { addGuard, type GuardOptions } from "./guard.ts";
import { addHealth } from "./health.ts";
import { addJobs } from "./jobs.ts";
import { addOutputs } from "./outputs.ts";
import { problem, problemOf } from "./problem.ts";
import { failure, found, params } from "./routes.ts";

export interface AppDeps {
  jobs: Jobs;
  /** A connection of its own for a blocking read. */
  openReader: () => Redis;
  apiKeys: ApiKeys;
  guard: GuardOptions;
}

export function createApp({ jobs, openReader, apiKeys, guard }: AppDeps) {
  const app = new OpenAPIHono({
    defaultHook: (result, c) => {
      if (result.success) return;
      const given = (result as { data?: unknown }).data;
      const errors = fieldErrors("", given, result.error.issues);
      return problem(c, 422, "the request is not valid", { errors });
    },
  });
  app.onError((error, c) => problemOf(c, error));
  app.notFound((c) => problem(c, 404, `there is nothing at ${c.req.path}`));

  addGuard(app, apiKeys, guard);
  addPage(app);
  addHealth(app, jobs);
  addJobs(app, jobs);
  addActions(app, jobs);
  addOutputs(app, jobs);

  app.get("/v1/jobs/:id/events", async (c) => {
    const id = c.req.param("id");
    found(await jobs.get(id), id);
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
  app.doc31("/openapi.json", { openapi: "3.1.0", info: { title: "mocod", version: VERSION } });
  return app;
}
