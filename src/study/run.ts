/** What differs between two runs of one study: ids, times, machines. Nothing else of a report does. */
import { isRecord } from "../schema/merge.ts";
import type { Ran, ReportRun } from "./types.ts";

export function runOf(
  { id, createdAt, finishedAt }: Pick<ReportRun, "id" | "createdAt" | "finishedAt">,
  ran: readonly Ran[],
): ReportRun {
  const results = ran.map(({ job }) => (isRecord(job?.result) ? job.result : {}));
  const texts = (of: (result: Record<string, unknown>) => unknown): string[] =>
    [...new Set(results.map(of).filter((value) => typeof value === "string"))].sort();
  const secondsOf = ({ seconds }: Record<string, unknown>) => (typeof seconds === "number" ? seconds : null);
  return {
    id,
    createdAt,
    finishedAt,
    hours: results.reduce((sum, result) => sum + (secondsOf(result) ?? 0), 0) / 3600,
    machines: texts(({ machine }) => machine),
    devices: texts(({ device, threads }) => (device === "wasm" ? `WASM, ${threads} threads` : device)),
    versions: texts(({ version }) => version),
    jobs: ran.map(({ id: job, node, seed, job: seen }, i) => ({
      id: job,
      job: node,
      seed,
      status: seen?.status ?? "waiting",
      seconds: secondsOf(results[i] as Record<string, unknown>),
    })),
  };
}
