/** What workers compute of a stored dataset for a person to look at: its report and thumbnails, kept in the store beside it. */
import type { Redis } from "ioredis";
import { UserError } from "../util/errors.ts";
import { expectWorkers, NoWorkerError, Questions, UnansweredError } from "./questions.ts";

export const INSPECTIONS = "mocod-inspections";

export type Inspection = { what: "report"; id: string } | { what: "thumbnails"; id: string; count: number };

/** The answer of a worker: null once the file is kept. */
export type Inspected = { refused: string } | null;

/** A request waits for so long; a client whose dataset takes longer asks again. */
const LIMIT_MS = 3000;

/** Name of what is kept. */
export const keptName = (of: Inspection): string =>
  of.what === "report" ? "report.json" : `thumbnails-${of.count}.png`;

export class Inspections {
  private readonly questions: Questions<Inspection, Inspected>;

  constructor(redis: Redis, openReader: () => Redis) {
    this.questions = new Questions(INSPECTIONS, redis, openReader, { limitMs: LIMIT_MS, keptSeconds: 60 });
  }

  /**
   * Asks a worker; the same question is in the queue once, however often it is asked.
   *
   * @returns Whether it is computed and kept; false: not yet.
   * @throws UserError where the dataset cannot be read; NoWorkerError where no worker computes it.
   */
  async ask(inspection: Inspection, workers: number): Promise<boolean> {
    expectWorkers(workers);
    try {
      const answer = await this.questions.ask(inspection);
      if (answer) throw new UserError(answer.refused);
      return true;
    } catch (error) {
      if (error instanceof UnansweredError) return false;
      if (error instanceof UserError) throw error;
      throw new NoWorkerError(`no worker could read the dataset: ${(error as Error).message}`, { cause: error });
    }
  }

  close(): Promise<void> {
    return this.questions.close();
  }
}
