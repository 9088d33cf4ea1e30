/** Plans: what a run will need, measured by a worker. */
import type { Redis } from "ioredis";
import type { Plan } from "../../schema/plan.ts";
import type { PretrainSpec } from "../../schema/pretrain.ts";
import { UserError } from "../../util/errors.ts";
import { Questions } from "../questions.ts";

export const PLANS = "mocod-plans";

/** The answer of a worker. */
export type Planned = { plan: Plan; worker: string; busy: boolean } | { refused: string };

/** No worker answers. The API responds with 503. */
export class NoWorkerError extends Error {
  override name = "NoWorkerError";
}

export class Plans {
  private readonly questions: Questions<{ spec: PretrainSpec }, Planned>;

  constructor(redis: Redis, openReader: () => Redis) {
    this.questions = new Questions(PLANS, redis, openReader, { limitMs: 120_000, keptSeconds: 600 });
  }

  /**
   * Asks a worker what a run will need.
   *
   * @param workers - Number of live workers.
   * @throws UserError where the run is not possible; NoWorkerError where no worker answers.
   */
  async ask(spec: PretrainSpec, workers: number): Promise<Exclude<Planned, { refused: string }>> {
    if (workers === 0) throw new NoWorkerError("no worker is running: start one with `mocod worker`");
    const answer = await this.questions.ask({ spec }).catch((error: unknown) => {
      throw new NoWorkerError(`no worker could plan: ${(error as Error).message}`, { cause: error });
    });
    if ("refused" in answer) throw new UserError(answer.refused);
    return answer;
  }

  close(): Promise<void> {
    return this.questions.close();
  }
}
