/** Plans: the API asks through a queue of BullMQ, and any worker measures and answers, even while it trains. */
import { type Queue, QueueEvents } from "bullmq";
import type { Redis } from "ioredis";
import type { Plan } from "../../schema/plan.ts";
import type { PretrainSpec } from "../../schema/pretrain.ts";
import { sha256 } from "../../store/files.ts";
import { UserError } from "../../util/errors.ts";
import { openQueue } from "../open_queue.ts";

export const PLANS = "mocod-plans";
/** Longest wait for an answer, including the requests before it in the queue. */
const ANSWER_MS = 120_000;
/** Seconds for which an answer is reused. */
const KEPT_S = 600;

/** The answer of a worker. */
export type Planned = { plan: Plan; worker: string; busy: boolean } | { refused: string };

/** No worker answers. The API responds with 503. */
export class NoWorkerError extends Error {
  override name = "NoWorkerError";
}

export class Plans {
  private readonly queue: Queue<{ spec: PretrainSpec }, Planned>;
  private events: QueueEvents | undefined;

  constructor(
    redis: Redis,
    private readonly openReader: () => Redis,
  ) {
    this.queue = openQueue(PLANS, redis);
  }

  /**
   * Asks a worker what a run will need.
   *
   * @param workers - Number of live workers.
   * @throws UserError where the run is not possible; NoWorkerError where no worker answers.
   */
  async ask(spec: PretrainSpec, workers: number): Promise<Exclude<Planned, { refused: string }>> {
    if (workers === 0) throw new NoWorkerError("no worker is running: start one with `mocod worker`");
    if (!this.events) {
      this.events = new QueueEvents(PLANS, { connection: this.openReader() });
      this.events.on("error", () => undefined);
    }
    await this.events.waitUntilReady();
    const job = await this.queue.add(
      "plan",
      { spec },
      {
        jobId: `plan_${sha256(Buffer.from(JSON.stringify(spec)))}`,
        removeOnComplete: { age: KEPT_S },
        removeOnFail: true,
      },
    );
    const answer = await job.waitUntilFinished(this.events, ANSWER_MS).catch((error: unknown) => {
      throw new NoWorkerError(`no worker could plan: ${(error as Error).message}`, { cause: error });
    });
    if ("refused" in answer) throw new UserError(answer.refused);
    return answer;
  }

  async close(): Promise<void> {
    await this.events?.close();
    await this.queue.close();
  }
}
