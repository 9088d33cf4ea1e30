/** bull-board at /queues: a read-only view of BullMQ's queues, for operators. */
import type { OpenAPIHono } from "@hono/zod-openapi";
import { Hono } from "hono";
import { serveStatic } from "hono/bun";
import type { Jobs } from "../src/queue/jobs.ts";
import { QUEUES } from "../src/queue/keys.ts";
import { PLANS } from "../src/queue/pipelines/plans.ts";
import { DELIVERIES } from "../src/queue/webhooks/deliveries.ts";

const PATH = "/queues";

/** Loads bull-board, at the first request: most APIs never need it. */
async function createBoard(jobs: Jobs): Promise<Hono> {
  const [{ createBullBoard }, { BullMQAdapter }, { HonoAdapter }] = await Promise.all([
    import("@bull-board/api"),
    import("@bull-board/api/bullMQAdapter"),
    import("@bull-board/hono"),
  ]);
  const names = [...Object.values(QUEUES), PLANS, DELIVERIES];
  const queues = names.map((name) => new BullMQAdapter(jobs.openQueue(name), { readOnlyMode: true }));
  const adapter = new HonoAdapter(serveStatic);
  adapter.setBasePath(PATH);
  createBullBoard({ queues, serverAdapter: adapter, options: { uiConfig: { boardTitle: "mocod" } } });
  return new Hono().route(PATH, adapter.registerPlugin());
}

export function addBoard(app: OpenAPIHono, jobs: Jobs): void {
  let board: Promise<Hono> | undefined;
  app.get(`${PATH}/*`, async (c) => {
    board ??= createBoard(jobs);
    return (await board).fetch(c.req.raw);
  });
}
