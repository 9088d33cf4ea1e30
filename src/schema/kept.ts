/** Whether a run will have what a job on it asks for: the checkpoint, the blocks of its encoder. */
import { isVit } from "./encoder.ts";
import { type JobSpecs, type JobType, SpecError } from "./job.ts";
import { methodsWith, type PretrainSpec } from "./pretrain.ts";
import { hasTextTower, textJobs } from "./types.ts";

/** Throws SpecError where the encoder of `source` has fewer blocks than `spec` wants the features of. */
function expectBlocks(spec: JobSpecs[JobType], { encoder }: PretrainSpec): void {
  if (!("blocks" in spec) || spec.blocks === 1) return;
  const got = spec.blocks;
  if ("features" in spec && spec.features === "projection") {
    const allowed = '1 with features "projection", which is made of the last block';
    throw new SpecError([{ field: "spec.blocks", got, allowed }]);
  }
  const most = isVit(encoder) ? encoder.depth : 1;
  if (got <= most) return;
  const allowed = isVit(encoder) ? `at most ${most}, the encoder's depth` : `1: ${encoder.arch} is no ViT`;
  throw new SpecError([{ field: "spec.blocks", got, allowed }]);
}

/** Throws SpecError where `type` needs a text tower and the method of `source` has none. */
function expectTexts(type: JobType, source: PretrainSpec): void {
  if (!textJobs.includes(type) || hasTextTower(source)) return;
  const allowed = `a run of ${methodsWith("text").join(" or ")}: ${source.method} has no text tower`;
  throw new SpecError([{ field: "spec.from", got: source.method, allowed }]);
}

/** Throws SpecError where `spec` wants what the networks of `source` do not have. */
export function expectFits(type: JobType, spec: JobSpecs[JobType], source: PretrainSpec): void {
  expectTexts(type, source);
  expectBlocks(spec, source);
}

/** The same, and where its run will not have kept the checkpoint that `spec` names; says which it will. */
export function expectKept(type: JobType, spec: JobSpecs[JobType], source: PretrainSpec): void {
  expectFits(type, spec, source);
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
