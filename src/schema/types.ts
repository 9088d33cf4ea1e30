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
