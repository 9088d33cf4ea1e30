/** Plans of a study's jobs, so that one that cannot have its memory is refused before the first of them runs. */
import type { Fleet } from "../src/queue/fleet.ts";
import { NoWorkerError, type Plans } from "../src/queue/pipelines/plans.ts";
import { SpecError } from "../src/schema/job.ts";
import type { PlannedJob } from "../src/schema/pipeline.ts";
import { type PretrainSpec, schemaOf } from "../src/schema/pretrain.ts";
import type { StudyPlan, StudyRecord } from "../src/study/types.ts";
import { UserError } from "../src/util/errors.ts";

/** Fields that change neither the memory of a run nor which device it is on: one plan serves all of their values. */
function memoryOf(spec: PretrainSpec): object {
  const { seed, epochs, logEvery, checkpoint, optimizer, augmentation, ...rest } = spec;
  const { shape, shapes, counted } = schemaOf(spec.method);
  const deciding = ["method", "tapes", ...shapes, ...counted];
  const kept = Object.entries(rest).filter(([field]) => deciding.includes(field) || !(field in shape));
  return { ...Object.fromEntries(kept), algorithm: optimizer.algorithm, size: augmentation.size };
}

/** Asks a worker. Where none is running, or none answers in time, nothing is refused. */
export async function planStudy(
  jobs: readonly PlannedJob[],
  fleet: Fleet,
  plans: Plans,
): Promise<Pick<StudyRecord, "plans" | "unplanned">> {
  const pretrain = jobs.filter(({ type }) => type === "pretrain");
  const groups = [...Map.groupBy(pretrain, ({ spec }) => JSON.stringify(memoryOf(spec as PretrainSpec))).values()];
  const planned: StudyPlan[] = [];
  for (const group of groups) {
    const { node, spec, params } = group[0] as PlannedJob;
    try {
      const { plan } = await plans.ask(spec as PretrainSpec, (await fleet.list()).length);
      planned.push({ jobs: group.map(({ id }) => id), memory: plan.memory.total });
    } catch (error) {
      if (error instanceof NoWorkerError) return { plans: [], unplanned: error.message };
      if (!(error instanceof UserError)) throw error;
      throw new SpecError([{ field: `jobs.${node}.spec`, got: params, allowed: error.message }]);
    }
  }
  return { plans: planned, unplanned: null };
}
