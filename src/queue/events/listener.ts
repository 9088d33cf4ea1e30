/** One listener to the events of a job. */
import type { Redis } from "ioredis";
import { keys } from "../keys.ts";
import { decodeEvent, type EncodedEvent, isBefore } from "./sse_event.ts";

/** Entries that are read at once, and kept of each job. */
export const COUNT = 200;

/** What the listeners of one job share. */
export interface Followed {
  /** `latest` has every entry after this id. */
  from: string;
  /** Id of the newest entry. */
  last: string;
  latest: EncodedEvent[];
  listeners: number;
  /** Wake the listeners that wait for an entry. */
  readonly waiting: Set<() => void>;
}

const GOLDEN = (Math.sqrt(5) - 1) / 2;
let turns = 0;

export class Listener {
  private wake: () => void = () => undefined;

  /** Position of its turn in a round, 0 to 1. Multiples of the golden ratio spread any number of listeners evenly. */
  private readonly place = (turns++ * GOLDEN) % 1;

  constructor(
    private readonly redis: Redis,
    private readonly job: string,
    private readonly followed: Followed,
    private readonly onClose: () => void,
  ) {}

  /** Milliseconds until its next turn, where every listener has one turn in `round` milliseconds. */
  untilTurn(round: number): number {
    return round - ((performance.now() + (1 - this.place) * round) % round);
  }

  /** Ends its wait as well. To be called once. */
  close(): void {
    this.onClose();
    this.followed.waiting.delete(this.wake);
    this.wake();
  }

  /** Reads some of the entries after `last`; none where that is the newest. */
  async after(last: string): Promise<readonly EncodedEvent[]> {
    const { from, latest } = this.followed;
    if (!isBefore(last, from)) {
      // From the end: there may be a thousand listeners, each with no or one new entry.
      let at = latest.length;
      while (at > 0 && isBefore(last, (latest[at - 1] as EncodedEvent).id)) at--;
      return latest.slice(at);
    }
    return (await this.redis.xrange(keys.events(this.job), `(${last}`, "+", "COUNT", COUNT)).map(decodeEvent);
  }

  /** Reads the id of the oldest entry of the stream. */
  async oldest(): Promise<string | undefined> {
    return (await this.redis.xrange(keys.events(this.job), "-", "+", "COUNT", 1))[0]?.[0];
  }

  /** Waits for an entry after `last`, at most `milliseconds`. */
  async wait(last: string, milliseconds: number): Promise<void> {
    const { followed } = this;
    if (isBefore(last, followed.last)) return;
    const waited = this.pause(milliseconds);
    followed.waiting.add(this.wake);
    await waited;
    followed.waiting.delete(this.wake);
  }

  /** Waits `milliseconds`, or until it is closed. */
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
