/** What puts things right after something died in the middle: in Redis, and between Redis and the store. */
import { finalStatuses, liveStatuses, type Moves } from "../../schema/life.ts";
import type { Jobs } from "../jobs.ts";
import { keys } from "../keys.ts";
import { Pipelines } from "../pipelines/pipelines.ts";
import type { JobRecord } from "../records/record.ts";

/**
 * Changes that are not in the store are saved; jobs that are queued and in no queue, or running and in nobody's hands, or
 * waiting for what is over, go on. Safe at any time, by anyone.
 */
export async function mend(jobs: Jobs): Promise<void> {
  const { redis } = jobs;
  await new Pipelines(jobs).mend();
  for (const id of await redis.smembers(keys.dirty)) await jobs.saveOrLater(id);
  for (const status of ["queued", ...liveStatuses] as const) {
    for (const record of await jobs.withoutEntry(await redis.zrange(keys.status(status), 0, "-1"))) {
      if (record.status !== status) continue;
      if (status === "queued") await jobs.enqueue(record.id);
      else await letGo(jobs, record);
    }
  }
  for (const id of await redis.zrange(keys.status("waiting"), 0, "-1")) {
    const record = await jobs.record(id);
    if (record?.status !== "waiting" || !("from" in record.spec)) continue;
    const source = await jobs.record(record.spec.from);
    if (!source || !finalStatuses.includes(source.status)) continue;
    await redis.sadd(keys.dependents(source.id), id);
    await jobs.releaseDependents(source);
  }
}

/** Of a job that a worker had in hand and nobody has any more. */
async function letGo(jobs: Jobs, { id, entry }: JobRecord): Promise<void> {
  const moves: Moves = { running: "queued", pausing: "paused" };
  const reason = "its worker is gone";
  const { after, changed } = await jobs.move(id, moves, {}, { entry, freshEntry: true, reason });
  if (changed && after === "queued") await jobs.enqueue(id);
  if (!changed) await jobs.move(id, { cancelling: "cancelled" }, {}, { entry });
}

/** Re-creates from the store what Redis does not know, and has it go on. Returns how many jobs that were. */
export async function rebuild(jobs: Jobs, log: (message: string) => void): Promise<number> {
  const restored = await jobs.archive.rebuild(log);
  const byAge = [...restored].sort((a, b) => Date.parse(a.createdAt) - Date.parse(b.createdAt));
  for (const { id } of byAge) {
    await jobs.redis.sadd(keys.dirty, id);
    await jobs.enqueue(id);
  }
  await new Pipelines(jobs).rebuild();
  await mend(jobs);
  return restored.length;
}
