/** Names of the types of jobs: apart from their schemas, so that a page in a browser need not load those. */
export const jobTypes = [
  "pretrain",
  "linear-probe",
  "knn",
  "fine-tune",
  "zero-shot",
  "retrieval",
  "embed",
  "map",
  "export",
] as const;
export type JobType = (typeof jobTypes)[number];

/** Jobs on a run whose method has a text tower. */
export const textJobs: readonly JobType[] = ["zero-shot", "retrieval"];

/** Whether the method of a pretrain spec has one. */
export const hasTextTower = (spec: object): boolean => "text" in spec;
