/** Plans over HTTP: memory and time of a run before it is submitted. */
import { createRoute, z } from "@hono/zod-openapi";
import type { Fleet } from "../src/queue/fleet.ts";
import type { Plans } from "../src/queue/pipelines/plans.ts";
import { parseSpec } from "../src/schema/job.ts";
import { keepOpen } from "./events.ts";
import * as examples from "./examples.ts";
import { expectAbsolute } from "./images.ts";
import { guarded, invalid, json, newApp } from "./routes.ts";
import * as schemas from "./schemas.ts";

const planRoute = createRoute({
  method: "post",
  path: "/v1/plan",
  operationId: "planRun",
  tags: ["service"],
  summary: "Estimate memory and time of a pretraining run",
  description:
    "A worker trains for some seconds on the spec, so the times are measured; a repeated request gets the same answer for " +
    "ten minutes. `busy`: the worker was running a job, so the run will be faster than estimated.",
  request: {
    body: {
      required: true,
      ...json(z.strictObject({ spec: z.record(z.string(), z.unknown()) }), "a pretrain spec", {
        spec: examples.submission.spec,
      }),
    },
  },
  responses: { 200: json(schemas.plan, "memory in bytes, time in seconds", examples.plan), ...invalid, ...guarded },
});

export const planRoutes = (fleet: Fleet, plans: Plans) =>
  newApp().openapi(planRoute, async (c) => {
    keepOpen(c);
    const spec = parseSpec("pretrain", c.req.valid("json").spec);
    expectAbsolute(spec.dataset);
    const workers = await fleet.list();
    const { plan, worker, busy } = await plans.ask(spec, workers.length);
    return c.json({ ...plan, worker, busy }, 200);
  });
