/**
 * The live events of jobs, for any number of listeners over one connection: a reader blocks on the streams of all jobs
 * that have listeners, and keeps the latest entries of each.
 */
import type { Redis } from "ioredis";
import { messageOf } from "../../util/errors.ts";
import { keys } from "../keys.ts";
import { COUNT, type Followed, Listener } from "./listener.ts";
import { decodeEvent, type EncodedEvent, type RawEntry } from "./sse_event.ts";

const BLOCK_MS = 5000;
/** Delay of a read after one that failed. */
const RETRY_MS = 1000;
/** Interval of requests to unblock the reader. */
const UNBLOCK_MS = 5;

export class Feed {
  private readonly followed = new Map<string, Followed>();
  private readonly reader: Redis;
  private reading: Promise<void> | undefined;
  /** Id of the reader's connection, for CLIENT UNBLOCK. */
  private readerId: number | undefined;
  /** Version of `followed`, and the version that the reader has taken note of. */
  private wanted = 0;
  private seen = 0;
  private count = 0;
  private closed = false;

  /** @param openReader - Opens the connection that blocks. */
  constructor(
    private readonly redis: Redis,
    openReader: () => Redis,
    private readonly log: (message: string) => void,
  ) {
    this.reader = openReader();
  }

  /** Number of listeners. */
  get listeners(): number {
    return this.count;
  }

  /** Listens to the events of a job until the listener is closed. */
  async follow(job: string): Promise<Listener> {
    let followed = this.followed.get(job);
    if (!followed) {
      const [newest] = await this.redis.xrevrange(keys.events(job), "+", "-", "COUNT", 1);
      const last = newest?.[0] ?? "0-0";
      followed = this.followed.get(job) ?? { from: last, last, latest: [], listeners: 0, waiting: new Set() };
      this.followed.set(job, followed);
    }
    followed.listeners++;
    this.count++;
    this.restartRead();
    return new Listener(this.redis, job, followed, () => {
      this.count--;
      if (--followed.listeners > 0) return;
      if (this.followed.get(job) === followed) this.followed.delete(job);
    });
  }

  /** Makes the reader read the streams of all jobs that are followed now. */
  private restartRead(): void {
    this.reading ??= this.read().finally(() => {
      this.reading = undefined;
      if (this.followed.size > 0 && !this.closed) this.restartRead();
    });
    void this.unblock(++this.wanted).catch((error: unknown) => this.log(`events: ${messageOf(error)}`));
  }

  /** Unblocks the reader, repeatedly, because a request that arrives before it blocks has no effect. */
  private async unblock(wanted: number): Promise<void> {
    while (this.seen < wanted && !this.closed) {
      if (this.readerId !== undefined) await this.redis.client("UNBLOCK", this.readerId);
      await Bun.sleep(UNBLOCK_MS);
    }
  }

  private async read(): Promise<void> {
    while (this.followed.size > 0 && !this.closed) {
      try {
        this.readerId = await this.reader.client("ID");
        this.seen = this.wanted;
        const jobs = [...this.followed];
        if (jobs.length === 0) continue; // the last listener was closed since
        const where = [...jobs.map(([job]) => keys.events(job)), ...jobs.map(([, { last }]) => last)];
        const reply = await this.reader.xread("COUNT", COUNT, "BLOCK", BLOCK_MS, "STREAMS", ...where);
        // RESP2 answers [[key, entries]], RESP3 a map of key to entries.
        const streams = reply === null ? [] : Array.isArray(reply) ? reply : Object.entries(reply);
        for (const [key, entries] of streams as [string, RawEntry[]][]) {
          const found = jobs.find(([job]) => keys.events(job) === key);
          if (found) this.take(found[1], entries.map(decodeEvent));
        }
      } catch (error) {
        if (this.closed) return;
        this.log(`events: ${messageOf(error)}`);
        await Bun.sleep(RETRY_MS);
      }
    }
    this.readerId = undefined;
  }

  private take(followed: Followed, entries: readonly EncodedEvent[]): void {
    if (entries.length === 0) return;
    followed.latest.push(...entries);
    followed.last = (entries.at(-1) as EncodedEvent).id;
    const dropped = followed.latest.splice(0, Math.max(0, followed.latest.length - COUNT)).at(-1);
    if (dropped) followed.from = dropped.id;
    for (const wake of followed.waiting) wake();
    followed.waiting.clear();
  }

  close(): void {
    this.closed = true;
    this.reader.disconnect();
    for (const { waiting } of this.followed.values()) for (const wake of waiting) wake();
  }
}
