/** Lists of jobs: filters, order and cursor pagination. */
import type { Redis } from "ioredis";
import type { JobType } from "../../schema/job.ts";
import type { JobStatus } from "../../schema/life.ts";
import { UserError } from "../../util/errors.ts";
import { keys } from "../keys.ts";
import type { Brief } from "./record.ts";

export interface Filter {
  readonly type?: JobType | undefined;
  readonly status?: JobStatus | undefined;
  /** Part of the name, case-insensitive. */
  readonly name?: string | undefined;
  /** Pairs that a job must have, all of them. */
  readonly metadata?: Record<string, string> | undefined;
  /** Id of a pipeline: only its jobs. */
  readonly pipeline?: string | undefined;
  /** Id of a run: only jobs on its encoder. */
  readonly from?: string | undefined;
  /** desc: newest first. */
  readonly order?: "asc" | "desc" | undefined;
  readonly limit: number;
  /** Cursor: the `next` of the previous page. */
  readonly after?: string | undefined;
}

export interface Page {
  readonly ids: string[];
  /** Cursor of the next page; null on the last page. */
  readonly next: string | null;
}

/** Ids that are read at once. */
const STRIDE = 500;

/** A cursor is the time of creation and the id of the last job of a page. */
function decodeCursor(after: string): { score: number; id: string } {
  const [, score, id] =
    Buffer.from(after, "base64url")
      .toString()
      .match(/^(\d+) (\S+)$/) ?? [];
  if (score === undefined || id === undefined)
    throw new UserError(`after: got "${after}", allowed: the next of a page`);
  return { score: Number(score), id };
}

const encodeCursor = (score: string, id: string): string => Buffer.from(`${score} ${id}`).toString("base64url");

const has = (metadata: Record<string, string>, wanted: Record<string, string>): boolean =>
  Object.entries(wanted).every(([key, value]) => metadata[key] === value);

function fits({ type, name = "", metadata = {}, pipeline, from }: Brief, filter: Filter): boolean {
  if (filter.from && from !== filter.from) return false;
  if (filter.pipeline && pipeline !== filter.pipeline) return false;
  if (filter.type && type !== filter.type) return false;
  if (filter.name && !name.toLowerCase().includes(filter.name.toLowerCase())) return false;
  return !filter.metadata || has(metadata, filter.metadata);
}

/** Decides for each id whether the list has it. */
type Sieve = (ids: string[]) => Promise<boolean[]>;

/**
 * Reads the ids of a page of jobs.
 *
 * @throws UserError where `after` is not a cursor.
 */
export function page(redis: Redis, filter: Filter): Promise<Page> {
  const index = filter.status ? keys.status(filter.status) : keys.index;
  const plain = !filter.type && !filter.name && !filter.metadata && !filter.pipeline && !filter.from;
  const sieve: Sieve = async (ids) =>
    (await redis.hmget(keys.briefs, ...ids)).map((brief) => !!brief && fits(JSON.parse(brief) as Brief, filter));
  return pageOf(redis, index, filter, plain ? undefined : sieve);
}

/**
 * Reads the ids of a page of an index by time. Cursor pagination: pages stay consistent under concurrent writes.
 *
 * @throws UserError where `after` is not a cursor.
 */
export async function pageOf(
  redis: Redis,
  index: string,
  { limit, order = "desc", after }: Pick<Filter, "limit" | "order" | "after">,
  sieve?: Sieve,
): Promise<Page> {
  const from = after === undefined ? undefined : decodeCursor(after);
  const found: [id: string, score: string][] = [];
  for (let offset = 0; ; offset += STRIDE) {
    const range = ["LIMIT", offset, STRIDE] as const;
    const flat =
      order === "desc"
        ? await redis.zrevrangebyscore(index, from?.score ?? "+inf", "-inf", "WITHSCORES", ...range)
        : await redis.zrangebyscore(index, from?.score ?? "-inf", "+inf", "WITHSCORES", ...range);
    const pairs = pairsOf(flat);
    const rest = from ? pairs.filter(([id, score]) => isAfter(id, Number(score), from, order)) : pairs;
    const wanted = sieve && rest.length > 0 ? await sieve(rest.map(([id]) => id)) : undefined;
    for (const [i, pair] of rest.entries()) {
      if (wanted && !wanted[i]) continue;
      // One id beyond the limit: there is a next page.
      if (found.length === limit) return { ids: found.map(([id]) => id), next: cursorOf(found) };
      found.push(pair);
    }
    if (pairs.length < STRIDE) return { ids: found.map(([id]) => id), next: null };
  }
}

function cursorOf(found: readonly [id: string, score: string][]): string {
  const [id, score] = found.at(-1) as [string, string];
  return encodeCursor(score, id);
}

/** RESP2 answers a flat list, RESP3 pairs. */
function pairsOf(answer: unknown[]): [id: string, score: string][] {
  if (Array.isArray(answer[0])) return (answer as [string, unknown][]).map(([id, score]) => [id, String(score)]);
  return Array.from({ length: answer.length / 2 }, (_, i) => [String(answer[2 * i]), String(answer[2 * i + 1])]);
}

/** Whether an id comes after the cursor; ids of equal scores are in lexical order. */
function isAfter(id: string, score: number, from: { score: number; id: string }, order: "asc" | "desc"): boolean {
  if (score !== from.score) return true;
  return order === "desc" ? id < from.id : id > from.id;
}
