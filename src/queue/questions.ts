/** Questions to workers: asked through a queue of BullMQ, answered by any worker, even while it trains. */
import { type Queue, QueueEvents } from "bullmq";
import type { Redis } from "ioredis";
import { sha256 } from "../store/files.ts";
import { messageOf, UserError } from "../util/errors.ts";
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

/** No worker answers. The API responds with 503. */
export class NoWorkerError extends Error {
  override name = "NoWorkerError";
}

/** Throws NoWorkerError where there is none of `workers` live ones to ask. */
export function expectWorkers(workers: number): void {
  if (workers === 0) throw new NoWorkerError("no worker is running: start one with `mocod worker`");
}

/** An answer that is no refusal. */
export type Granted<Answer> = Exclude<Answer, { refused: string }>;

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

  /**
   * Asks one of `workers` live ones to do something, as its error names it.
   *
   * @throws UserError where the worker refuses; NoWorkerError where none answers.
   */
  async demand(question: Question, workers: number, doing: string, limitMs?: number): Promise<Granted<Answer>> {
    expectWorkers(workers);
    const answer = await this.ask(question, limitMs).catch((error: unknown) => {
      throw new NoWorkerError(`no worker could ${doing}: ${messageOf(error)}`, { cause: error });
    });
    if (isRefusal(answer)) throw new UserError(answer.refused);
    return answer as Granted<Answer>;
  }

  async close(): Promise<void> {
    await this.events?.close();
    await this.queue.close();
  }
}

const isRefusal = (answer: unknown): answer is { refused: string } =>
  typeof answer === "object" && answer !== null && "refused" in answer;
