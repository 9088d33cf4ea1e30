/** Questions to workers: asked through a queue of BullMQ, answered by any worker, even while it trains. */
import { type Queue, QueueEvents } from "bullmq";
import type { Redis } from "ioredis";
import { sha256 } from "../store/files.ts";
import { openQueue } from "./open_queue.ts";

export interface Asking {
  /** Longest wait for an answer, including the questions before it in the queue. */
  readonly limitMs: number;
  /** Seconds for which the answer to the same question is reused. */
  readonly keptSeconds: number;
}

/** A question is in the queue, or a worker works on it. */
export class UnansweredError extends Error {
  override name = "UnansweredError";
}

const OPEN = new Set(["waiting", "active", "delayed", "prioritized"]);

export class Questions<Question extends object, Answer> {
  private readonly queue: Queue<Question, Answer>;
  private events: QueueEvents | undefined;

  constructor(
    private readonly name: string,
    redis: Redis,
    private readonly openReader: () => Redis,
    private readonly asking: Asking,
  ) {
    this.queue = openQueue(name, redis);
  }

  /** Throws UnansweredError where no worker answers in time, Error where the one that took it fails. */
  async ask(question: Question, limitMs = this.asking.limitMs): Promise<Answer> {
    if (!this.events) {
      this.events = new QueueEvents(this.name, { connection: this.openReader() });
      this.events.on("error", () => undefined);
    }
    await this.events.waitUntilReady();
    const job = await this.queue.add("ask" as never, question as never, {
      jobId: `ask_${sha256(Buffer.from(JSON.stringify(question)))}`,
      removeOnComplete: { age: this.asking.keptSeconds },
      removeOnFail: true,
    });
    try {
      return (await job.waitUntilFinished(this.events, limitMs)) as Answer;
    } catch (error) {
      // BullMQ has the same error for both.
      if (!OPEN.has(await job.getState())) throw error;
      throw new UnansweredError(`no answer within ${limitMs / 1000} s`, { cause: error });
    }
  }

  async close(): Promise<void> {
    await this.events?.close();
    await this.queue.close();
  }
}
