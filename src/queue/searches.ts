/** Searches by a sentence among the images of a retrieval job, answered by a worker. */
import type { Redis } from "ioredis";
import type { FoundImage } from "../schema/evaluation.ts";
import { Questions } from "./questions.ts";

export const SEARCHES = "mocod-searches";

export interface Search {
  /** Of the retrieval job. */
  readonly id: string;
  readonly text: string;
  /** Images at the most. */
  readonly count: number;
}

/** The answer of a worker, nearest first. */
export type Searched = { images: FoundImage[] } | { refused: string };

export class Searches {
  private readonly questions: Questions<Search, Searched>;

  constructor(redis: Redis, openReader: () => Redis) {
    this.questions = new Questions(SEARCHES, redis, openReader, { limitMs: 120_000, keptSeconds: 600 });
  }

  /**
   * Asks a worker which images are nearest to a sentence.
   *
   * @param workers - Number of live workers.
   * @throws UserError where the job cannot be searched, or not by this text; NoWorkerError where no worker answers.
   */
  async ask(search: Search, workers: number): Promise<FoundImage[]> {
    const { images } = await this.questions.demand(search, workers, "search");
    return images;
  }

  close(): Promise<void> {
    return this.questions.close();
  }
}
