/** Endpoints for monitoring: liveness, readiness, metrics. */
import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Jobs } from "../src/queue/jobs.ts";
import { createMetrics } from "./metrics.ts";
import { problem } from "./problem.ts";

export function addHealth(app: OpenAPIHono, jobs: Jobs): void {
  const metrics = createMetrics(jobs);
  // Checks only that the process answers.
  for (const path of ["/livez", "/healthz"]) app.get(path, (c) => c.text("ok"));

  /** Checks Redis and the store. Their errors become 503 in the same way as in any other route. */
  app.get("/readyz", async (c) => {
    const { evictionPolicy } = await jobs.check();
    if (evictionPolicy !== undefined && evictionPolicy !== "noeviction") {
      return problem(c, 503, `Redis has maxmemory-policy ${evictionPolicy} and may evict jobs; set it to noeviction`);
    }
    return c.text("ok");
  });

  app.get("/metrics", async (c) => c.body(await metrics.metrics(), 200, { "content-type": metrics.contentType }));
}
