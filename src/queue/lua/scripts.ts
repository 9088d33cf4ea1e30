/**
 * The Lua scripts, each with one function that turns named fields into its KEYS and ARGV. The header of a `.lua` file
 * says what each of them means; nothing else counts their positions.
 */
import type { Redis } from "ioredis";
import { finalStatuses, type JobStatus, type Moves } from "../../schema/life.ts";
import { keys } from "../keys.ts";
import change from "./change.lua" with { type: "text" };
import clean from "./clean.lua" with { type: "text" };
import forget from "./forget.lua" with { type: "text" };

const EVENTS_KEPT = 5000;
const HISTORY_KEPT = 1000;
/** Changes of status that webhooks may not have read yet. */
const OUTBOX_KEPT = 10_000;

/** A script ready to run. */
interface Script<Reply> {
  readonly text: string;
  readonly keys: readonly string[];
  readonly args: readonly (string | number)[];
  parse(reply: unknown): Reply;
}

/** Runs a script as one atomic step. */
export async function evaluate<Reply>(redis: Redis, { text, keys: where, args, parse }: Script<Reply>): Promise<Reply> {
  return parse(await redis.eval(text, where.length, ...where, ...args));
}

export interface ChangeFields {
  readonly id: string;
  /** Status before -> after; undefined: the status stays, whatever it is. */
  readonly moves: Moves | undefined;
  /** Fields of the hash: name, value, name, value … */
  readonly fields: readonly string[];
  readonly event: { readonly type: string; readonly data: unknown };
  /** The entry that the record must have; undefined: any. */
  readonly entry: string | undefined;
  /** Whether the job gets a new entry. */
  readonly freshEntry: boolean;
  readonly now: Date;
}

export interface Changed {
  readonly before: JobStatus;
  readonly after: JobStatus;
  readonly changed: boolean;
}

/** Changes a record; undefined where there is none. See change.lua. */
export const changeScript = (fields: ChangeFields): Script<Changed | undefined> => ({
  text: change,
  keys: [
    keys.run(fields.id),
    keys.events(fields.id),
    keys.history(fields.id),
    keys.index,
    keys.finished,
    keys.dirty,
    keys.statusPrefix,
    keys.outbox,
  ],
  args: [
    fields.id,
    fields.moves ? JSON.stringify(fields.moves) : "*",
    JSON.stringify(fields.fields),
    fields.event.type,
    JSON.stringify(fields.event.data),
    fields.entry ?? "",
    fields.freshEntry ? "1" : "0",
    JSON.stringify(finalStatuses),
    fields.now.getTime(),
    fields.now.toISOString(),
    EVENTS_KEPT,
    HISTORY_KEPT,
    OUTBOX_KEPT,
  ],
  parse(reply) {
    if (reply === null) return undefined;
    const [before, after, changed] = reply as [JobStatus, JobStatus, number];
    return { before, after, changed: changed === 1 };
  },
});

const cleanOutcomes = ["newer", "saved", "deleted"] as const;
export type CleanOutcome = (typeof cleanOutcomes)[number];

/** Marks a record as saved. `version`: the one that was saved; undefined: there was no record. See clean.lua. */
export const cleanScript = (id: string, version: number | undefined): Script<CleanOutcome> => ({
  text: clean,
  keys: [keys.run(id), keys.dirty, keys.deleted(id)],
  args: [id, String(version ?? "")],
  parse: (reply) => cleanOutcomes[reply as number] as CleanOutcome,
});

/** Evicts a finished job's record; false where that is still to be saved. See forget.lua. */
export const forgetScript = (id: string): Script<boolean> => ({
  text: forget,
  keys: [keys.run(id), keys.events(id), keys.history(id), keys.dirty, keys.finished],
  args: [id],
  parse: (reply) => (reply as number) > 0,
});
