/** Whether a run will have the checkpoint that a job on it asks for. */
import { type JobSpecs, type JobType, SpecError } from "./job.ts";
import type { PretrainSpec } from "./pretrain.ts";

/** Throws SpecError where the run of `source` will not have kept the checkpoint that `spec` names, and says which it will. */
export function expectKept(spec: JobSpecs[JobType], source: PretrainSpec): void {
  if (!("checkpoint" in spec)) return;
  const wanted = spec.checkpoint;
  const { epochs, checkpoint, monitor } = source;
  if (wanted === "best" && monitor.everyEpochs === 0) {
    const allowed = '"last": the pretrain job measures no kNN to choose by (its monitor.everyEpochs is 0)';
    throw new SpecError([{ field: "spec.checkpoint", got: wanted, allowed }]);
  }
  if (typeof wanted !== "object" || !("epoch" in wanted)) return;
  const { epoch } = wanted;
  const { everyEpochs, keepLast, keepEvery } = checkpoint;
  const written = (at: number) => at % everyEpochs === 0 || at === epochs;
  const last = Array.from({ length: epochs }, (_, i) => i + 1)
    .filter(written)
    .slice(-keepLast);
  if (last.includes(epoch) || (epoch < epochs && written(epoch) && keepEvery > 0 && epoch % keepEvery === 0)) return;
  const allowed =
    epoch > epochs
      ? `at most ${epochs}, the epochs of the pretrain job; its last checkpoints are those of epochs ${last.join(", ")}`
      : `an epoch whose checkpoint stays: let checkpoint.everyEpochs (${everyEpochs}) and checkpoint.keepEvery ` +
        `(${keepEvery}) of the pretrain job divide it, or take one of the last: ${last.join(", ")}`;
  throw new SpecError([{ field: "spec.checkpoint.epoch", got: epoch, allowed }]);
}
