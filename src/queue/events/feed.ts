/**
 * Events of jobs as they come, for any number of listeners over one connection: it blocks on the streams of all jobs that
 * someone listens to, and keeps the latest entries of each.
 */
import type { Redis } from "ioredis";
import { messageOf } from "../../util/errors.ts";
import { keys } from "../keys.ts";

export interface TailEntry {
  /** The stream's own. */
  readonly id: string;
  readonly type: string;
  /** JSON. */
  readonly data: string;
}

/** As it is sent, made once for all listeners. */
export interface LiveEntry extends TailEntry {
  readonly bytes: Uint8Array;
}

const encoder = new TextEncoder();
/** An event of an SSE stream. */
export const live = (entry: TailEntry): LiveEntry => ({
  ...entry,
  bytes: encoder.encode(`event: ${entry.type}\ndata: ${entry.data}\nid: ${entry.id}\n\n`),
});

const BLOCK_MS = 5000;
/** Entries that are read in one go, and kept of each job. */
const COUNT = 200;
const AGAIN_MS = 1000;

type RawEntry = [id: string, fields: string[]];

/** Order of stream ids: milliseconds, then a counter. */
export function isBefore(a: string, b: string): boolean {
  const [x = 0, i = 0] = a.split("-").map(Number);
  const [y = 0, j = 0] = b.split("-").map(Number);
  return x < y || (x === y && i < j);
}

const decoded = ([id, fields]: RawEntry): LiveEntry =>
  live({ id, type: fields[1] as string, data: fields[3] as string });

interface Followed {
  /** Behind this one `latest` has everything. */
  from: string;
  last: string;
  latest: LiveEntry[];
  listeners: number;
  readonly waiting: Set<() => void>;
}

export class Tail {
  private readonly followed = new Map<string, Followed>();
  private readonly reader: Redis;
  private reading: Promise<void> | undefined;
  private blocked: number | undefined;
  /** Changes of which jobs there are: all, and those that the reader has seen. */
  private wanted = 0;
  private seen = 0;
  private count = 0;
  private closed = false;

  constructor(
    private readonly redis: Redis,
    openReader: () => Redis,
    private readonly log: (message: string) => void,
  ) {
    this.reader = openReader();
  }

  /** How many listen. */
  get listeners(): number {
    return this.count;
  }

  /** Listens to a job until `close`. */
  async follow(job: string): Promise<Listener> {
    let of = this.followed.get(job);
    if (!of) {
      const [newest] = await this.redis.xrevrange(keys.events(job), "+", "-", "COUNT", 1);
      const last = newest?.[0] ?? "0-0";
      of = this.followed.get(job) ?? { from: last, last, latest: [], listeners: 0, waiting: new Set() };
      this.followed.set(job, of);
    }
    of.listeners++;
    this.count++;
    this.wake();
    return new Listener(this.redis, job, of, () => {
      this.count--;
      if (--of.listeners > 0) return;
      if (this.followed.get(job) === of) this.followed.delete(job);
    });
  }

  /** Has the reader look at which jobs there are. */
  private wake(): void {
    this.reading ??= this.read().finally(() => {
      this.reading = undefined;
      if (this.followed.size > 0 && !this.closed) this.wake();
    });
    void this.nudge(++this.wanted).catch((error: unknown) => this.log(`events: ${messageOf(error)}`));
  }

  /** Again until it was heard: a word that comes before the reader blocks is lost. */
  private async nudge(wanted: number): Promise<void> {
    while (this.seen < wanted && !this.closed) {
      if (this.blocked !== undefined) await this.redis.client("UNBLOCK", this.blocked);
      await Bun.sleep(5);
    }
  }

  private async read(): Promise<void> {
    while (this.followed.size > 0 && !this.closed) {
      try {
        this.blocked = await this.reader.client("ID");
        this.seen = this.wanted;
        const jobs = [...this.followed];
        if (jobs.length === 0) continue; // the last one left meanwhile
        const where = [...jobs.map(([job]) => keys.events(job)), ...jobs.map(([, { last }]) => last)];
        const reply = await this.reader.xread("COUNT", COUNT, "BLOCK", BLOCK_MS, "STREAMS", ...where);
        // RESP2 answers [[key, entries]], RESP3 a map of key to entries.
        const streams = reply === null ? [] : Array.isArray(reply) ? reply : Object.entries(reply);
        for (const [key, entries] of streams as [string, RawEntry[]][]) {
          const found = jobs.find(([job]) => keys.events(job) === key);
          if (found) this.take(found[1], entries.map(decoded));
        }
      } catch (error) {
        if (this.closed) return;
        this.log(`events: ${messageOf(error)}`);
        await Bun.sleep(AGAIN_MS);
      }
    }
    this.blocked = undefined;
  }

  private take(of: Followed, entries: readonly LiveEntry[]): void {
    if (entries.length === 0) return;
    of.latest.push(...entries);
    of.last = (entries.at(-1) as LiveEntry).id;
    const dropped = of.latest.splice(0, Math.max(0, of.latest.length - COUNT)).at(-1);
    if (dropped) of.from = dropped.id;
    for (const wake of of.waiting) wake();
    of.waiting.clear();
  }

  close(): void {
    this.closed = true;
    this.reader.disconnect();
    for (const { waiting } of this.followed.values()) for (const wake of waiting) wake();
  }
}

const GOLDEN = (Math.sqrt(5) - 1) / 2;
let turns = 0;

export class Listener {
  private wake: () => void = () => undefined;

  /** Where its turn is in a round of all listeners, 0 to 1: by the golden ratio any number of them lie apart. */
  private readonly place = (turns++ * GOLDEN) % 1;

  constructor(
    private readonly redis: Redis,
    private readonly job: string,
    private readonly of: Followed,
    private readonly leave: () => void,
  ) {}

  /** Milliseconds until its next turn, where each of all listeners has one within `round` milliseconds. */
  untilTurn(round: number): number {
    return round - ((performance.now() + (1 - this.place) * round) % round);
  }

  /** Ends a wait as well. Once. */
  close(): void {
    this.leave();
    this.of.waiting.delete(this.wake);
    this.wake();
  }

  /** Entries behind `last`, at most some; none: there are no others by now. */
  async behind(last: string): Promise<readonly LiveEntry[]> {
    const { from, latest } = this.of;
    if (!isBefore(last, from)) {
      // Nearly always none or one is new, and there may be a thousand listeners.
      let at = latest.length;
      while (at > 0 && isBefore(last, (latest[at - 1] as LiveEntry).id)) at--;
      return latest.slice(at);
    }
    return (await this.redis.xrange(keys.events(this.job), `(${last}`, "+", "COUNT", COUNT)).map(decoded);
  }

  /** The oldest entry that is still there. */
  async oldest(): Promise<string | undefined> {
    return (await this.redis.xrange(keys.events(this.job), "-", "+", "COUNT", 1))[0]?.[0];
  }

  /** Until there is an entry behind `last`, or for so many milliseconds. */
  async wait(last: string, milliseconds: number): Promise<void> {
    const { of } = this;
    if (isBefore(last, of.last)) return;
    const waited = this.pause(milliseconds);
    of.waiting.add(this.wake);
    await waited;
    of.waiting.delete(this.wake);
  }

  /** So many milliseconds, or until it is closed. */
  pause(milliseconds: number): Promise<void> {
    return new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
