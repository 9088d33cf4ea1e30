/** Plans: what a run will need, measured by a worker. */
import type { Redis } from "ioredis";
import type { MemoryPlan, Plan } from "../../schema/plan.ts";
import type { PretrainSpec } from "../../schema/pretrain.ts";
import { type Granted, Questions } from "../questions.ts";

export const PLANS = "mocod-plans";

export interface PlanQuestion {
  readonly spec: PretrainSpec;
  /** Of a run that is not tried; unset: of one that is to fit. */
  readonly only?: "memory";
}

interface PlannedRun {
  plan: Plan;
  worker: string;
  busy: boolean;
}
/** The answer of a worker. */
export type Planned = PlannedRun | { memory: MemoryPlan } | { refused: string };

/** A net that is far larger than a machine's takes a minute, of which two are recorded. */
const COMPUTED_MS = 300_000;

export class Plans {
  private readonly questions: Questions<PlanQuestion, Planned>;

  constructor(redis: Redis, openReader: () => Redis) {
    this.questions = new Questions(PLANS, redis, openReader, { limitMs: 120_000, keptSeconds: 600 });
  }

  /**
   * Asks a worker what a run will need.
   *
   * @param workers - Number of live workers.
   * @throws UserError where the run is not possible; NoWorkerError where no worker answers.
   */
  async ask(spec: PretrainSpec, workers: number): Promise<PlannedRun> {
    return (await this.answer({ spec }, workers)) as PlannedRun;
  }

  /**
   * Asks a worker what memory a run would take on its threads, where it does not fit there as well.
   *
   * @throws As `ask` does.
   */
  async memory(spec: PretrainSpec, workers: number): Promise<MemoryPlan["memory"]> {
    const answer = await this.answer({ spec, only: "memory" }, workers, COMPUTED_MS);
    return (answer as { memory: MemoryPlan }).memory.memory;
  }

  private answer(question: PlanQuestion, workers: number, limitMs?: number): Promise<Granted<Planned>> {
    return this.questions.demand(question, workers, "plan", limitMs);
  }

  close(): Promise<void> {
    return this.questions.close();
  }
}
