/** How each type of job on an encoder is run. To add one: its file, one line here. */
import type { EvaluationType, JobSpecs } from "../schema/job.ts";
import { finishedResult } from "../store/manifest.ts";
import type { Outcome } from "../train/reporter.ts";
import type { EvaluationContext } from "./context.ts";
import { embedImages } from "./embed.ts";
import { exportEncoder } from "./export.ts";
import { fineTune } from "./fine_tune.ts";
import { mapImages } from "./map.ts";
import { probe } from "./probe.ts";
import { retrieve } from "./retrieve.ts";
import { vote } from "./vote.ts";
import { zeroShot } from "./zero_shot.ts";

type Runs = { [T in EvaluationType]: (spec: JobSpecs[T], context: EvaluationContext) => Promise<Outcome<unknown>> };

const runs: Runs = {
  "linear-probe": probe,
  knn: vote,
  "fine-tune": fineTune,
  "zero-shot": zeroShot,
  retrieval: retrieve,
  embed: embedImages,
  map: mapImages,
  export: exportEncoder,
};

/** Runs a job to its end, or to where it is stopped; a later call resumes it. */
export async function evaluate<T extends EvaluationType>(
  type: T,
  spec: JobSpecs[T],
  context: EvaluationContext,
): Promise<Outcome<unknown>> {
  // A process may die between the end of its work and the moment when the job says so.
  const finished = await finishedResult(context.own, context.report.log);
  return finished ?? runs[type](spec, context);
}
