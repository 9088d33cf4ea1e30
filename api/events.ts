/** A job's events as SSE. The event id is the stream entry's, so `Last-Event-ID` goes on where it broke off. */
import { z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { getBunServer } from "hono/bun";
import type { Feed } from "../src/queue/events/feed.ts";
import type { Listener } from "../src/queue/events/listener.ts";
import { type EncodedEvent, encodeEvent, isBefore } from "../src/queue/events/sse_event.ts";
import type { JobEvent } from "../src/queue/records/record.ts";
import type { Records } from "../src/queue/records/records.ts";
import { finalStatuses, type JobStatus } from "../src/schema/job.ts";
import * as examples from "./examples.ts";
import { found, guarded, missing, newApp, params } from "./routes.ts";

const PING_MS = 15_000;
/** For each listener of all: with a thousand of them every one hears of a job once a second, one after the other. */
const PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 2000;

const ping = new TextEncoder().encode(": ping\n\n");
const encoded = ({ id, type, data }: JobEvent): EncodedEvent => encodeEvent({ id, type, data: JSON.stringify(data) });

/** The id of a stream's entry; whatever else a client sends means from the beginning. */
const positionOf = (header: string | undefined): string =>
  (/^\d{1,15}(-\d{1,15})?$/.test(header ?? "") ? header : "0") as string;

/** Bun closes a connection that is quiet for 10 seconds; not this one. */
export function keepOpen(c: Context): void {
  const server = getBunServer(c) as { timeout?: (request: Request, seconds: number) => void } | undefined;
  server?.timeout?.(c.req.raw, 0);
}

/** Bytes of the events behind `from`, to the end of the job. */
async function* eventsOf(
  records: Records,
  feed: Feed,
  listener: Listener,
  id: string,
  from: string,
): AsyncGenerator<Uint8Array> {
  let last = from;
  // What the stream has lost of its beginning, or of a job that Redis has forgotten, the store knows, but for the progress.
  const oldest = await listener.oldest();
  const complete = oldest !== undefined && !isBefore(last, oldest);
  for (const event of complete ? [] : await records.history(id)) {
    if (!isBefore(last, event.id) || (oldest !== undefined && !isBefore(event.id, oldest))) continue;
    yield encoded(event).bytes;
    last = event.id;
  }
  let told: JobStatus | undefined;
  for (;;) {
    const entries = await listener.after(last);
    if (entries.length > 0) {
      yield entries.length === 1
        ? (entries[0] as EncodedEvent).bytes
        : Buffer.concat(entries.map(({ bytes }) => bytes));
      last = (entries.at(-1) as EncodedEvent).id;
      const status = entries.findLast(({ type }) => type === "status");
      if (status) told = (JSON.parse(status.data) as { status: JobStatus }).status;
      continue;
    }
    // A final status may be followed by a retry: the stream ends behind the last event of a job that is over.
    if (told === undefined || finalStatuses.includes(told)) {
      const status = await records.status(id);
      if (!status || finalStatuses.includes(status)) {
        if ((await listener.after(last)).length > 0) continue;
        return;
      }
      told = status;
    }
    const since = performance.now();
    await listener.wait(last, PING_MS);
    if (performance.now() - since >= PING_MS) yield ping;
    // Of many listeners each hears several events at once: a write costs the same, whatever is in it.
    const pause = Math.min(LONGEST_PAUSE_MS, feed.listeners * PAUSE_MS);
    if (pause >= 20) await listener.pause(listener.untilTurn(pause));
  }
}

export function eventRoutes(records: Records, feed: Feed) {
  const routes = newApp();
  routes.get("/v1/jobs/:id/events", async (c) => {
    const id = c.req.param("id");
    found(await records.get(id), id);
    keepOpen(c);
    const listener = await feed.follow(id);
    const events = eventsOf(records, feed, listener, id, positionOf(c.req.header("last-event-id")));
    let over = false;
    const end = () => {
      if (!over) listener.close();
      over = true;
    };
    // Pulled: nothing piles up for a client that is slow.
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        try {
          const { value, done } = over ? { value: undefined, done: true } : await events.next();
          if (value && !over) return controller.enqueue(value);
          if (done && !over) controller.close();
          end();
        } catch (error) {
          end();
          controller.error(error);
        }
      },
      cancel: end,
    });
    return c.body(body, 200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  });
  // Registered apart: an SSE stream has no JSON body for the typed handlers to check.
  routes.openAPIRegistry.registerPath({
    method: "get",
    path: "/v1/jobs/{id}/events",
    operationId: "followJob",
    tags: ["outputs"],
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
