/** What a job says while it runs, and how it hears that it should end. */
import type { DataContext } from "../data/types.ts";
import type { Progress } from "../schema/job.ts";
import type { Permit } from "../store/run_store.ts";
import { UserError } from "../util/errors.ts";

/** Why a job is asked to end before its end. Whatever the reason, it leaves a checkpoint. */
export type StopReason = "cancel" | "pause" | "shutdown";

export interface Reporter extends DataContext {
  progress(progress: Progress): void;
  /** What is doubtful about the spec, now that the size of the dataset is known. */
  warnings?(warnings: string[]): void;
  /** Why to stop before the next step, or undefined. */
  stopRequested(): StopReason | undefined;
  /** Resolves when there is such a reason: for what cannot wait for the end of a long step. */
  readonly stopping?: Promise<unknown>;
  /** Leave to publish in the run's name; unset: always granted. */
  readonly permit?: Permit;
}

export type Outcome<T> = { stopped: StopReason } | { result: T };

/** The training is lost from here on; the same steps would go the same way, so it is not tried again. */
export class DivergedError extends UserError {
  override name = "DivergedError";
}
