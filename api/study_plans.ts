/** Plans of a study's jobs, so that one that cannot have its memory is refused before the first of them runs. */
import type { Fleet } from "../src/queue/fleet.ts";
import type { Plans } from "../src/queue/pipelines/plans.ts";
import { NoWorkerError } from "../src/queue/questions.ts";
import { SpecError } from "../src/schema/job.ts";
import type { PlannedJob } from "../src/schema/pipeline.ts";
import { type PretrainSpec, schemaOf } from "../src/schema/pretrain.ts";
import type { PlannedOnly } from "../src/schema/study/layout.ts";
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

/**
 * Asks a worker about each size of job, and about the jobs of rows that are planned only. Where none is running, or none answers
 * in time, nothing is refused.
 */
export async function planStudy(
  jobs: readonly PlannedJob[],
  only: PlannedOnly,
  fleet: Fleet,
  plans: Plans,
): Promise<Pick<StudyRecord, "plans" | "unplanned">> {
  const workers = async () => (await fleet.list()).length;
  const pretrain = jobs.filter(({ type }) => type === "pretrain");
  const groups = [...Map.groupBy(pretrain, ({ spec }) => JSON.stringify(memoryOf(spec as PretrainSpec))).values()];
  const planned: StudyPlan[] = [];
  try {
    for (const group of groups) {
      const { node, spec, params } = group[0] as PlannedJob;
      const ask = async () => plans.ask(spec as PretrainSpec, await workers());
      const { plan } = await refusing(`jobs.${node}.spec`, params, ask);
      planned.push({ jobs: group.map(({ id }) => id), memory: plan.memory.total });
    }
    for (const { row, job } of only) {
      const ask = async () => plans.memory(job.spec as PretrainSpec, await workers());
      const { total } = await refusing(`sweep.planned.${row}`, job.params, ask);
      planned.push({ jobs: [], only: { row, job: job.node }, memory: total });
    }
    return { plans: planned, unplanned: null };
  } catch (error) {
    if (error instanceof NoWorkerError) return { plans: planned, unplanned: error.message };
    throw error;
  }
}

/** Names the field where a worker refuses. */
async function refusing<T>(field: string, got: unknown, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new SpecError([{ field, got, allowed: error.message }]);
  }
}
