/** A job's events as SSE. The event id is the stream entry's, so `Last-Event-ID` goes on where it broke off. */
import type { Context } from "hono";
import { getBunServer } from "hono/bun";
import { streamSSE } from "hono/streaming";
import type { Redis } from "ioredis";
import { eventsKey, type Jobs } from "../src/queue/jobs.ts";
import { finalStatuses, type JobStatus } from "../src/spec/job.ts";

const BLOCK_MS = 5000;

type Entry = [id: string, fields: string[]];

function entriesOf(reply: unknown): Entry[] {
  if (!reply) return [];
  // RESP2 answers [[key, entries]], RESP3 a map of key to entries.
  const first = Array.isArray(reply)
    ? (reply[0] as [string, Entry[]])[1]
    : Object.values(reply as Record<string, Entry[]>)[0];
  return first ?? [];
}

export function events(c: Context, jobs: Jobs, reader: Redis, id: string): Response {
  // Bun closes a connection that is quiet for 10 seconds; not this one.
  (getBunServer(c) as { timeout?: (request: Request, seconds: number) => void } | undefined)?.timeout?.(c.req.raw, 0);
  return streamSSE(c, async (stream) => {
    stream.onAbort(() => reader.disconnect());
    let last = c.req.header("last-event-id") ?? "0";
    try {
      while (!stream.aborted) {
        const reply = await reader.xread("COUNT", 200, "BLOCK", BLOCK_MS, "STREAMS", eventsKey(id), last);
        const entries = entriesOf(reply);
        for (const [entry, fields] of entries) {
          const { type, data } = { type: fields[1] as string, data: fields[3] as string };
          await stream.writeSSE({ id: entry, event: type, data });
          last = entry;
          if (type === "status" && finalStatuses.includes((JSON.parse(data) as { status: JobStatus }).status)) return;
        }
        if (entries.length === 0) {
          // Nothing new: either quiet (ping), or all was already sent before this connection (end).
          const job = await jobs.get(id);
          if (!job || finalStatuses.includes(job.status)) return;
          await stream.write(": ping\n\n");
        }
      }
    } catch (error) {
      if (!stream.aborted) throw error;
    } finally {
      reader.disconnect();
    }
  });
}
