/** Repairs what a process that died between two steps leaves inconsistent, in Redis and between Redis and the store. */
import { finalStatuses, liveStatuses, type Moves } from "../../schema/life.ts";
import type { PendingImports } from "../imports/pending.ts";
import type { Entries } from "../life/entries.ts";
import type { Life } from "../life/life.ts";
import type { Pipelines } from "../pipelines/pipelines.ts";
import type { Archive } from "../records/archive.ts";
import type { JobRecord } from "../records/record.ts";
import type { Records } from "../records/records.ts";

export interface Repairable {
  readonly archive: Archive;
  readonly records: Records;
  readonly entries: Entries;
  readonly life: Life;
  readonly pipelines: Pipelines;
  readonly imports: PendingImports;
}

/**
 * Submits the remaining jobs of pipelines, saves unsaved records, gives queued and running jobs without an entry a new
 * one, and releases jobs whose source has finished. Idempotent; any process may run it at any time.
 */
export async function repair({ archive, records, entries, life, pipelines }: Repairable): Promise<void> {
  await pipelines.submitRemaining();
  for (const id of await archive.unsaved()) await life.save(id);
  for (const status of ["queued", ...liveStatuses] as const) {
    for (const record of await entries.missing(await records.ids(status))) {
      if (record.status !== status) continue;
      if (status === "queued") await entries.add(record.id);
      else await requeue(record, life, entries);
    }
  }
  for (const id of await records.ids("waiting")) {
    const record = await records.read(id);
    if (record?.status !== "waiting" || !("from" in record.spec)) continue;
    const source = await records.read(record.spec.from);
    if (source && finalStatuses.includes(source.status)) await life.awaitSource(id, source.id);
  }
}

/** Puts a job whose worker is lost to rest: back into the queue, paused or cancelled. */
async function requeue({ id, entry }: JobRecord, life: Life, entries: Entries): Promise<void> {
  const moves: Moves = { running: "queued", pausing: "paused" };
  const reason = "its worker was lost";
  const { after, changed } = await life.move(id, moves, {}, { entry, freshEntry: true, reason });
  if (changed && after === "queued") await entries.add(id);
  if (!changed) await life.move(id, { cancelling: "cancelled" }, {}, { entry });
}

/**
 * Restores from the store what Redis has lost, and repairs the rest.
 *
 * @returns The number of jobs restored.
 */
export async function rebuild(all: Repairable, log: (message: string) => void): Promise<number> {
  const { archive, entries, pipelines, imports } = all;
  const restored = await archive.rebuild(log);
  const byAge = [...restored].sort((a, b) => Date.parse(a.createdAt) - Date.parse(b.createdAt));
  for (const { id } of byAge) {
    await archive.markUnsaved(id);
    await entries.add(id);
  }
  await pipelines.rebuild();
  await imports.rebuild();
  await repair(all);
  return restored.length;
}
