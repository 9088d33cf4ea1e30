/** The jobs that need a dataset. */
import type { Jobs } from "../src/queue/jobs.ts";
import { ConflictError } from "../src/queue/life/life.ts";
import { finalStatuses, type Job, jobStatuses } from "../src/schema/job.ts";
import type { Uploads } from "../src/store/uploads.ts";

const datasetOf = ({ spec }: Pick<Job, "spec">) => ("dataset" in spec ? spec.dataset : undefined);

/** Throws ConflictError where an unfinished job reads the dataset, itself or through the run that it is on. */
export async function expectUnused(jobs: Jobs, uploads: Uploads, id: string): Promise<void> {
  const { records } = jobs;
  // A job may name it by the id of an import whose file it had already.
  const isIt = async (of: string) => of === id || (await uploads.get(of))?.id === id;
  for (const status of jobStatuses.filter((one) => !finalStatuses.includes(one))) {
    for (const jobId of await records.ids(status)) {
      const job = await records.read(jobId);
      if (!job) continue;
      const source = "from" in job.spec && !datasetOf(job) ? await records.read(job.spec.from) : undefined;
      const dataset = datasetOf(job) ?? (source && datasetOf(source));
      if (dataset?.kind === "stored" && (await isIt(dataset.id))) {
        throw new ConflictError(job.status, `job ${jobId} needs the dataset ${id}; cancel it first`);
      }
    }
  }
}
