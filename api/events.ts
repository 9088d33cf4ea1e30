/**
 * Events of a job as SSE. Their ids are those of the stream's entries, so `Last-Event-ID` resumes a broken connection.
 */
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
/** Pause per listener: with a thousand of them each gets its events once a second, in turn. */
const PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 2000;

const ping = new TextEncoder().encode(": ping\n\n");
const encoded = ({ id, type, data }: JobEvent): EncodedEvent => encodeEvent({ id, type, data: JSON.stringify(data) });

/** Parses Last-Event-ID; anything but the id of a stream entry means from the beginning. */
const positionOf = (header: string | undefined): string =>
  (/^\d{1,15}(-\d{1,15})?$/.test(header ?? "") ? header : "0") as string;

/** Disables Bun's timeout, which closes connections that are idle for 10 seconds. */
export function keepOpen(c: Context): void {
  const server = getBunServer(c) as { timeout?: (request: Request, seconds: number) => void } | undefined;
  server?.timeout?.(c.req.raw, 0);
}

/** Yields the bytes of the events after `from`, until the end of the job. */
async function* eventsOf(
  records: Records,
  feed: Feed,
  listener: Listener,
  id: string,
  from: string,
): AsyncGenerator<Uint8Array> {
  let last = from;
  // Events that were trimmed from the stream, or evicted with the record, are read from the store, which has no
  // progress.
  const oldest = await listener.oldest();
  const complete = oldest !== undefined && !isBefore(last, oldest);
  for (const event of complete ? [] : await records.history(id)) {
    if (!isBefore(last, event.id) || (oldest !== undefined && !isBefore(event.id, oldest))) continue;
    yield encoded(event).bytes;
    last = event.id;
  }
  let lastStatus: JobStatus | undefined;
  for (;;) {
    const entries = await listener.after(last);
    if (entries.length > 0) {
      yield entries.length === 1
        ? (entries[0] as EncodedEvent).bytes
        : Buffer.concat(entries.map(({ bytes }) => bytes));
      last = (entries.at(-1) as EncodedEvent).id;
      const status = entries.findLast(({ type }) => type === "status");
      if (status) lastStatus = (JSON.parse(status.data) as { status: JobStatus }).status;
      continue;
    }
    // A retry may follow a final status: the stream ends after the last event of a job that has finished.
    if (lastStatus === undefined || finalStatuses.includes(lastStatus)) {
      const status = await records.status(id);
      if (!status || finalStatuses.includes(status)) {
        if ((await listener.after(last)).length > 0) continue;
        return;
      }
      lastStatus = status;
    }
    const since = performance.now();
    await listener.wait(last, PING_MS);
    if (performance.now() - since >= PING_MS) yield ping;
    // Many listeners get several events at once, because the cost of a write hardly depends on its size.
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
    let closed = false;
    const end = () => {
      if (!closed) listener.close();
      closed = true;
    };
    // Pulled by the client, so nothing is buffered for a slow one.
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        try {
          const { value, done } = closed ? { value: undefined, done: true } : await events.next();
          if (value && !closed) return controller.enqueue(value);
          if (done && !closed) controller.close();
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
  // Registered separately: typed handlers only check JSON bodies.
  routes.openAPIRegistry.registerPath({
    method: "get",
    path: "/v1/jobs/{id}/events",
    operationId: "followJob",
    tags: ["outputs"],
    summary: "Follow a job to its end (SSE)",
    description:
      "Events `status`, `progress`, `log` and `warnings`, each with an id. A client that reconnects with `Last-Event-ID` " +
      "misses no event and gets none twice; of the progress of a long run only the last 5,000 events are kept.",
    request: {
      params,
      headers: z.object({ "last-event-id": z.string().optional().describe("id of the last event received") }),
    },
    responses: {
      200: {
        description: "the events, until the end of the job",
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
