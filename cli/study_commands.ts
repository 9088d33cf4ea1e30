/** `study`: tables of papers, each by one command. */
import { existsSync, writeFileSync } from "node:fs";
import { type Command, Option } from "commander";
import { scaleNames } from "../src/schema/study/spec.ts";
import type { Client } from "./client.ts";
import { addCommand, clientOf, several } from "./command.ts";
import { printJson } from "./json.ts";
import { envOf } from "./settings.ts";
import { assignedValues, readSpecFile } from "./spec_file.ts";
import { untilFinished } from "./submit.ts";

const formats = ["html", "md", "json"] as const;
type Format = (typeof formats)[number];

export function addStudyCommands(program: Command): void {
  const study = program.command("study").description("run a study: a paper's table, with a report beside its figures");

  addCommand(study, {
    name: "list",
    does: "list the committed studies and the runs of studies",
    examples: ["list", "list --json"],
  }).action(async (options) => listStudies(clientOf(envOf(options)), options));

  addCommand(study, {
    name: "run",
    does: "run a study; prints the id of its run, which is a pipeline",
    examples: [
      "run moco-v2-ablation",
      "run negatives --scale hours --watch",
      "run my-study.yaml --set pretrain.epochs=2",
    ],
  })
    .argument("<study>", "the name of a committed study, or a file of YAML or JSON; - for stdin")
    .addOption(new Option("--scale <scale>", "unset: the first that the study has").choices(scaleNames))
    .option("--set <job.field=value>", "a field of a job's spec that this run changes (repeatable)", several, [])
    .option("--watch", "wait for it, and print the report as Markdown")
    .action(async (named: string, options) => runStudy(clientOf(envOf(options)), named, options));

  addCommand(study, {
    name: "report",
    does: "report what a run of a study has stored by now",
    examples: ["report pipe_…", "report pipe_… --format html --out report.html"],
  })
    .argument("<id>", "as `study run` printed it")
    .addOption(new Option("--format <format>", "of the report").choices(formats).default("md"))
    .option("--out <file>", "unset: it is printed")
    .action(async (id: string, options) => reportStudy(clientOf(envOf(options)), id, options));
}

async function listStudies(client: Client, options: { json?: boolean }): Promise<void> {
  const all = await client.studies();
  if (options.json) return printJson(all);
  for (const { name, title, scales } of all.studies) {
    console.log(`${name.padEnd(20)}  ${title}`);
    for (const { scale, jobs, about } of scales) {
      console.log(`  ${scale.padEnd(8)}  ${String(jobs).padStart(3)} jobs  ${about ?? ""}`.trimEnd());
    }
  }
  for (const { id, study, title, scale, status } of all.runs) {
    console.log([id, status.padEnd(10), study ?? title, scale ?? ""].join("  ").trimEnd());
  }
}

interface RunOptions {
  set: string[];
  scale?: string;
  watch?: boolean;
  json?: boolean;
}

/** A name that has neither a dot nor a slash is that of a committed study, unless there is such a file. */
const isFile = (named: string): boolean => named === "-" || /[./\\]/.test(named) || existsSync(named);

async function runStudy(client: Client, named: string, { scale, set, watch, json }: RunOptions): Promise<void> {
  const study = isFile(named) ? { spec: await readSpecFile(named) } : { name: named };
  const changes = set.length > 0 ? { set: assignedValues(set) } : {};
  const run = await client.runStudy({ ...study, ...changes, ...(scale !== undefined && { scale }) });
  if (run.unplanned) console.error(`not planned: ${run.unplanned}`);
  if (run.plannedMemory !== null) console.error(`planned: at most ${(run.plannedMemory / 1e6).toFixed(0)} MB`);
  if (!watch) return json ? printJson(run) : console.log(run.id);
  console.error(run.id);
  const { status, jobs } = await untilFinished(client, run.id);
  console.log(await client.studyReport(run.id, json ? "json" : "md"));
  for (const { id, node, error } of jobs) if (error) console.error(`${node} ${id}: ${error}`);
  if (status !== "succeeded") process.exitCode = 1;
}

async function reportStudy(
  client: Client,
  id: string,
  { format, out, json }: { format: Format; out?: string; json?: boolean },
): Promise<void> {
  const report = await client.studyReport(id, json ? "json" : format);
  if (out === undefined) return console.log(report.trimEnd());
  writeFileSync(out, report);
  console.error(out);
}
