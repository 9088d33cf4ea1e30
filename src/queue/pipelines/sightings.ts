/** What a worker finds where a dataset should be, so that a job on it can be refused when it is submitted. */
import type { Redis } from "ioredis";
import type { DatasetSpec, Sighting } from "../../schema/dataset.ts";
import { Questions } from "../questions.ts";

export const SIGHTINGS = "mocod-datasets";

export type Seen = { sighting: Sighting } | { refused: string };

/** A submission waits for so long; a dataset that takes longer to list is seen when the job starts. */
const LIMIT_MS = 5000;

export class Sightings {
  private readonly questions: Questions<{ dataset: DatasetSpec }, Seen | null>;

  constructor(
    redis: Redis,
    openReader: () => Redis,
    private readonly log: (message: string) => void,
  ) {
    // Files may come and go: an answer is as good as new for the jobs of one pipeline, and not for long.
    this.questions = new Questions(SIGHTINGS, redis, openReader, { limitMs: LIMIT_MS, keptSeconds: 10 });
  }

  /** Asks a worker. Undefined where none can tell at once, or there is nothing to tell: a dataset that is known by name. */
  async ask(dataset: DatasetSpec, workers: number): Promise<Seen | undefined> {
    if (workers === 0) return undefined;
    try {
      return (await this.questions.ask({ dataset })) ?? undefined;
    } catch (error) {
      this.log(`no worker could tell at once what is in a dataset: ${(error as Error).message}`);
      return undefined;
    }
  }

  close(): Promise<void> {
    return this.questions.close();
  }
}
