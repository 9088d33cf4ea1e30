/** What an evaluation is given: the encoder, where its own files go, and who hears of it. */
import type { Computing } from "../engine/engine.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import type { CheckpointChoice, CheckpointRecord } from "../store/retention.ts";
import type { RunStore } from "../store/run_store.ts";
import type { Reporter } from "../train/reporter.ts";
import { FileError } from "../util/errors.ts";

/** What an evaluation is given besides its spec. */
export interface EvaluationContext {
  readonly pretrained: PretrainSpec;
  /** The pretraining run. */
  readonly source: RunStore;
  /** The evaluation's own run, for what it leaves. */
  readonly own: RunStore;
  readonly computing: Computing;
  readonly report: Reporter;
  /** Images that are embedded between two looks at whether to stop; unset: by how they are held. */
  readonly group?: number;
  /** Milliseconds of a step of fine-tuning that is not waited for when the job is to stop; unset: as in pretraining. */
  readonly longStepMs?: number;
}

/** Throws FileError where there is none, naming those that there are. */
export async function checkpointOf(
  choice: CheckpointChoice,
  { source, report }: Pick<EvaluationContext, "source" | "report">,
): Promise<{ record: CheckpointRecord; bytes: Uint8Array }> {
  const found = await source.goodCheckpoint(choice, report.log);
  if (found) return found;
  const there = (await source.checkpoints()).map(
    ({ step, epoch }) => `step ${step}${epoch ? ` (epoch ${epoch})` : ""}`,
  );
  const wanted = typeof choice === "string" ? choice : JSON.stringify(choice);
  throw new FileError(source.path, `holds no good checkpoint ${wanted}; it has ${there.join(", ") || "none"}`);
}
