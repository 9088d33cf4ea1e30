/** A study with fields of its jobs' specs changed for one run: another dataset, fewer epochs. */
import { type FieldError, SpecError } from "../job.ts";
import { merge } from "../merge.ts";
import type { ScaleName, StudySpec } from "./spec.ts";

/** By `job.field`, dotted: `pretrain.dataset.path`. */
export type Changes = Readonly<Record<string, unknown>>;

/**
 * The study with the changes at one scale; null: it has none. What a sweep sets stays.
 *
 * @throws SpecError where the pipeline has no such job.
 */
export function changedStudy(study: StudySpec, scale: ScaleName | null, changes: Changes): unknown {
  const names = Object.keys(study.pipeline.jobs);
  const errors = Object.keys(changes).flatMap((field): FieldError[] => {
    const [job = "", ...path] = field.split(".");
    if (names.includes(job) && path.length > 0 && !path.includes("")) return [];
    const allowed = `a field of a job's spec, as ${names[0]}.epochs; jobs: ${names.join(", ")}`;
    return [{ field: `set.${field}`, got: changes[field], allowed }];
  });
  if (errors.length > 0) throw new SpecError(errors);
  if (Object.keys(changes).length === 0) return study;
  const jobs = Object.entries(changes).reduce<unknown>((all, [field, value]) => {
    const [job, ...path] = field.split(".");
    return merge(all, nested([job as string, "spec", ...path], value));
  }, {});
  return merge(study, scale === null ? { pipeline: { jobs } } : { scales: { [scale]: { jobs } } });
}

const nested = ([first, ...rest]: readonly string[], value: unknown): unknown =>
  first === undefined ? value : { [first]: nested(rest, value) };
