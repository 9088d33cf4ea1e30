/** A job's events as SSE. The event id is the stream entry's, so `Last-Event-ID` goes on where it broke off. */
import type { Context } from "hono";
import { getBunServer } from "hono/bun";
import { streamSSE } from "hono/streaming";
import type { Redis } from "ioredis";
import type { Jobs } from "../src/queue/jobs.ts";
import { keys } from "../src/queue/keys.ts";
import type { JobEvent } from "../src/queue/records.ts";
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

const before = (a: string, b: string): boolean => {
  const [x = [0, 0], y = [0, 0]] = [a, b].map((id) => id.split("-").map(Number));
  return (x[0] as number) < (y[0] as number) || (x[0] === y[0] && (x[1] ?? 0) < (y[1] ?? 0));
};

async function later(jobs: Jobs, id: string, last: string): Promise<JobEvent[]> {
  if ((await jobs.redis.exists(keys.events(id))) === 1) return [];
  return (await jobs.history(id)).filter((event) => before(last, event.id));
}

export function events(c: Context, jobs: Jobs, reader: Redis, id: string): Response {
  // Bun closes a connection that is quiet for 10 seconds; not this one.
  (getBunServer(c) as { timeout?: (request: Request, seconds: number) => void } | undefined)?.timeout?.(c.req.raw, 0);
  return streamSSE(c, async (stream) => {
    stream.onAbort(() => reader.disconnect());
    let last = c.req.header("last-event-id") ?? "0";
    // A final status may be followed by a retry: the stream ends behind the last event of a job that is over.
    let over = false;
    try {
      while (!stream.aborted) {
        const where = ["STREAMS", keys.events(id), last] as const;
        const reply = await (over
          ? reader.xread("COUNT", 200, ...where)
          : reader.xread("COUNT", 200, "BLOCK", BLOCK_MS, ...where));
        const entries = entriesOf(reply);
        for (const [entry, fields] of entries) {
          const { type, data } = { type: fields[1] as string, data: fields[3] as string };
          await stream.writeSSE({ id: entry, event: type, data });
          last = entry;
          if (type === "status") over = finalStatuses.includes((JSON.parse(data) as { status: JobStatus }).status);
        }
        if (entries.length > 0) continue;
        // Nothing new: either quiet (ping), or all was already sent (end).
        const job = await jobs.get(id);
        if (!job || finalStatuses.includes(job.status)) {
          // Of a job that Redis has forgotten the store knows all but the progress.
          for (const { id: entry, type, data } of await later(jobs, id, last)) {
            await stream.writeSSE({ id: entry, event: type, data: JSON.stringify(data) });
          }
          return;
        }
        over = false;
        await stream.write(": ping\n\n");
      }
    } catch (error) {
      if (!stream.aborted) throw error;
    } finally {
      reader.disconnect();
    }
  });
}
