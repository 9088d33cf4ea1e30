/** A job's events as SSE. The event id is the stream entry's, so `Last-Event-ID` goes on where it broke off. */
import { z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { getBunServer } from "hono/bun";
import { stream } from "hono/streaming";
import type { Jobs } from "../src/queue/jobs.ts";
import { keys } from "../src/queue/keys.ts";
import type { JobEvent } from "../src/queue/records.ts";
import { isBefore, type Tail, type TailEntry } from "../src/queue/tail.ts";
import { finalStatuses, type JobStatus } from "../src/spec/job.ts";
import * as examples from "./examples.ts";
import { found, guarded, missing, newApp, params } from "./routes.ts";

const PING_MS = 15_000;

const textOf = ({ id, type, data }: TailEntry): string => `event: ${type}\ndata: ${data}\nid: ${id}\n\n`;
const entryOf = ({ id, type, data }: JobEvent): TailEntry => ({ id, type, data: JSON.stringify(data) });

/** The id of a stream's entry; whatever else a client sends means from the beginning. */
const positionOf = (header: string | undefined): string =>
  (/^\d{1,15}(-\d{1,15})?$/.test(header ?? "") ? header : "0") as string;

/** Bun closes a connection that is quiet for 10 seconds; not this one. */
function keepOpen(c: Context): void {
  const server = getBunServer(c) as { timeout?: (request: Request, seconds: number) => void } | undefined;
  server?.timeout?.(c.req.raw, 0);
}

async function* eventsOf(jobs: Jobs, tail: Tail, id: string, from: string): AsyncGenerator<TailEntry | "ping"> {
  const listener = await tail.follow(id);
  try {
    let last = from;
    // What is behind the stream's end, or of a job that Redis has forgotten, the store still knows, but for the progress.
    const oldest = await listener.oldest();
    for (const event of await jobs.history(id)) {
      if (!isBefore(last, event.id) || (oldest !== undefined && !isBefore(event.id, oldest))) continue;
      yield entryOf(event);
      last = event.id;
    }
    let told: JobStatus | undefined;
    for (;;) {
      const entries = await listener.behind(last);
      for (const entry of entries) {
        yield entry;
        last = entry.id;
        if (entry.type === "status") told = (JSON.parse(entry.data) as { status: JobStatus }).status;
      }
      if (entries.length > 0) continue;
      // A final status may be followed by a retry: the stream ends behind the last event of a job that is over.
      if (told === undefined || finalStatuses.includes(told)) {
        const status = await jobs.redis.hget(keys.run(id), "status");
        if (!status || finalStatuses.includes(status as JobStatus)) {
          if ((await listener.behind(last)).length > 0) continue;
          return;
        }
        told = status as JobStatus;
      }
      const since = performance.now();
      await listener.wait(last, PING_MS);
      if (performance.now() - since >= PING_MS) yield "ping";
    }
  } finally {
    listener.close();
  }
}

export function eventRoutes(jobs: Jobs, tail: Tail) {
  const routes = newApp();
  routes.get("/v1/jobs/:id/events", async (c) => {
    const id = c.req.param("id");
    found(await jobs.get(id), id);
    keepOpen(c);
    c.header("content-type", "text/event-stream");
    c.header("cache-control", "no-cache");
    const events = eventsOf(jobs, tail, id, positionOf(c.req.header("last-event-id")));
    return stream(
      c,
      async (out) => {
        for await (const event of events) {
          if (out.aborted) return;
          await out.write(event === "ping" ? ": ping\n\n" : textOf(event));
        }
      },
      async (error) => console.error(error),
    );
  });
  // Registered apart: an SSE stream has no JSON body for the typed handlers to check.
  routes.openAPIRegistry.registerPath({
    ...{ method: "get", path: "/v1/jobs/{id}/events", operationId: "followJob", tags: ["outputs"] },
    summary: "Follow a job to its end (SSE)",
    description:
      "Events `status`, `progress`, `log` and `warnings`, each with an id. A connection that breaks goes on with " +
      "`Last-Event-ID`: nothing is lost or doubled, but that of a long run's progress only the last 5,000 are kept.",
    request: {
      params,
      headers: z.object({ "last-event-id": z.string().optional().describe("of the last event that was received") }),
    },
    responses: {
      200: {
        description: "to the job's end",
        content: {
          "text/event-stream": {
            schema: z.string(),
            example: `event: progress\ndata: ${JSON.stringify(examples.job.progress)}\nid: 1764061200000-0\n\n`,
          },
        },
      },
      ...missing,
      ...guarded,
    },
  });
  return routes;
}
