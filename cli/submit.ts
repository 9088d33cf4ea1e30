/** `submit`, `probe`, `sweep`: submit jobs from files and flags. */
import type { Pipeline } from "../src/queue/pipelines/pipeline.ts";
import type { JobType } from "../src/schema/job.ts";
import { jobTypes } from "../src/schema/job.ts";
import type { ReportRow } from "../src/schema/report.ts";
import { UserError } from "../src/util/errors.ts";
import type { Client } from "./client.ts";
import { watchJob } from "./jobs.ts";
import { printJson } from "./json.ts";
import { assignment, describeSpec, readSpecFile, withAssignments } from "./spec_file.ts";
import { datasetOf, wholeNumbers } from "./tools.ts";

interface SubmitOptions {
  set: string[];
  preset?: string;
  dataset?: string;
  name?: string;
  priority?: string;
  metadata: string[];
  watch?: boolean;
  json?: boolean;
}

export async function submitJob(
  client: Client,
  type: JobType,
  file: string | undefined,
  options: SubmitOptions,
): Promise<void> {
  if (!jobTypes.includes(type)) throw new UserError(`type: got "${type}", allowed: ${jobTypes.join(", ")}`);
  const { preset, dataset, priority, metadata, name } = options;
  const given = {
    ...(file !== undefined && (await readSpecFile(file))),
    ...(preset !== undefined && { preset }),
    ...(dataset !== undefined && { dataset: datasetOf(dataset, undefined) }),
  };
  const pairs = Object.fromEntries(metadata.map(assignment));
  const rank = priority === undefined ? undefined : Number(priority);
  const job = await client.submit(type, withAssignments(given, options.set), name, rank, pairs);
  for (const line of describeSpec(job)) console.error(line);
  for (const warning of job.warnings) console.error(`warning: ${warning}`);
  if (options.watch) return watchJob(client, job.id);
  if (options.json) printJson(job);
  else console.log(job.id);
}

const percent = (share: number): string => (100 * share).toFixed(2);

interface ProbeOptions {
  type: "linear-probe" | "knn" | "fine-tune";
  checkpoint: string;
  set: string[];
  json?: boolean;
}

/** Evaluates a run. Exits with 1 where the job does not succeed. */
export async function probeRun(client: Client, from: string, options: ProbeOptions): Promise<void> {
  const { checkpoint } = options;
  const which = /^\d+$/.test(checkpoint) ? { epoch: Number(checkpoint) } : checkpoint;
  const submitted = await client.submit(options.type, withAssignments({ from, checkpoint: which }, options.set));
  console.error(submitted.id);
  const job = await client.follow(submitted.id, () => undefined);
  if (job.status !== "succeeded") {
    process.exitCode = 1;
    throw new UserError(`${job.id} is ${job.status}${job.error ? `: ${job.error}` : ""}`);
  }
  if (options.json) return printJson(job.result);
  const result = job.result as {
    top1: number;
    top5: number;
    step: number;
    baselines: Record<string, { top1: number } | undefined> | null;
  };
  console.log(`top-1 ${percent(result.top1)}, top-5 ${percent(result.top5)}, of the encoder after step ${result.step}`);
  for (const [name, score] of Object.entries(result.baselines ?? {})) {
    if (score) console.log(`  ${name.padEnd(10)} top-1 ${percent(score.top1)}`);
  }
}

interface SweepOptions {
  grid: string[];
  seeds?: string;
  judge: string;
  name?: string;
  watch?: boolean;
  json?: boolean;
}

/** Builds a pipeline of a pretrain job and its evaluation; `--grid temperature=0.1,0.2` applies to the former. */
function pipelineOf(spec: object, { grid, seeds, judge }: SweepOptions): object {
  const values = grid.map((text) => {
    const [field, list] = assignment(text);
    return [`pretrain.${field}`, withAssignments({}, [`x=[${list}]`]).x] as const;
  });
  return {
    jobs: {
      pretrain: { type: "pretrain", spec },
      ...(judge !== "nothing" && { [judge]: { type: judge, from: "pretrain" } }),
    },
    sweep: {
      ...(grid.length > 0 && { grid: Object.fromEntries(values) }),
      ...(seeds !== undefined && { seeds: wholeNumbers(seeds) }),
    },
  };
}

export async function submitSweep(client: Client, file: string, options: SweepOptions): Promise<void> {
  const given = await readSpecFile(file);
  const body = "jobs" in given ? given : pipelineOf(given, options);
  const { id, jobs } = await client.submitPipeline({
    ...body,
    ...(options.name !== undefined && { name: options.name }),
  });
  console.error(`${jobs.length} jobs`);
  if (!options.watch) {
    if (options.json) printJson(await client.pipeline(id));
    else console.log(id);
    return;
  }
  const pipeline = await untilFinished(client, id);
  if (options.json) printJson(pipeline);
  else console.log(tableOf(pipeline.results));
  for (const { id: job, node, error } of pipeline.jobs) if (error) console.error(`${node} ${job}: ${error}`);
  if (pipeline.status !== "succeeded") process.exitCode = 1;
}

const POLL_MS = 1000;

/** Waits for the end of a pipeline, and prints each change of its counts. */
export async function untilFinished(client: Client, id: string): Promise<Pipeline> {
  for (let printed = ""; ; await Bun.sleep(POLL_MS)) {
    const pipeline = await client.pipeline(id);
    const counts = Object.entries(pipeline.counts)
      .map(([status, count]) => `${count} ${status}`)
      .join(", ");
    if (counts !== printed) console.error(counts);
    printed = counts;
    if (pipeline.finishedAt !== null) return pipeline;
  }
}

/** Formats results: one line per job and point, mean ± sample standard deviation of each metric over the seeds. */
export function tableOf(rows: readonly ReportRow[]): string {
  const names = [...new Set(rows.flatMap(({ figures }) => Object.keys(figures)))];
  const fields = [...new Set(rows.flatMap(({ params }) => Object.keys(params)))];
  const short = (field: string) => field.slice(field.indexOf(".") + 1);
  const figure = (row: ReportRow, name: string): string => {
    const found = row.figures[name];
    if (!found) return "";
    const scale = (value: number) => (name === "loss" ? value.toFixed(3) : percent(value));
    return found.std === null ? scale(found.mean) : `${scale(found.mean)} ± ${scale(found.std)}`;
  };
  const cells = [
    ["job", ...fields.map(short), "seeds", ...names, "failed"],
    ...rows.map((row) => [
      row.job,
      ...fields.map((field) => (field in row.params ? JSON.stringify(row.params[field]) : "")),
      String(row.succeeded),
      ...names.map((name) => figure(row, name)),
      row.failed > 0 ? String(row.failed) : "",
    ]),
  ];
  const widths = (cells[0] as string[]).map((_, i) => Math.max(...cells.map((line) => (line[i] as string).length)));
  return cells
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i] as number))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
