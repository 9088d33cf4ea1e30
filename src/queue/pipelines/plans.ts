/** Plans are made where the run would run: the API asks, any worker answers, whatever else it is doing. */
import { type Queue, QueueEvents } from "bullmq";
import type { Redis } from "ioredis";
import type { Plan } from "../../schema/plan.ts";
import type { PretrainSpec } from "../../schema/pretrain.ts";
import { sha256 } from "../../store/files.ts";
import { UserError } from "../../util/errors.ts";
import { openQueue } from "../open_queue.ts";

export const PLANS = "mocod-plans";
/** From the question to the answer, others' questions before it included. */
const PATIENCE_MS = 120_000;
/** Asked again within so many seconds the answer is the same. */
const KEPT_S = 600;

/** What a worker answers. */
export type Planned = { plan: Plan; worker: string; busy: boolean } | { refused: string };

/** There is nobody to plan. Answered with 503. */
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

  /** Throws UserError where such a run is not possible, NoWorkerError where no worker answers. */
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
    const answer = await job.waitUntilFinished(this.events, PATIENCE_MS).catch((error: unknown) => {
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
