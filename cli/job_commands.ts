/** Commands on the jobs of a running service. */
import { type Command, Option } from "commander";
import type { JobType } from "../src/schema/job.ts";
import { jobTypes } from "../src/schema/job.ts";
import { type ActionName, jobStatuses } from "../src/schema/life.ts";
import { presets } from "../src/schema/presets.ts";
import { addCommand, clientOf, several } from "./command.ts";
import { listJobs, pull, searchImages, showLogs, watchJob } from "./jobs.ts";
import { printJson } from "./json.ts";
import { envOf } from "./settings.ts";
import { probeRun, submitJob, submitSweep } from "./submit.ts";

const actionHelp: Record<ActionName, string> = {
  pause: "pause a job between two steps",
  resume: "resume a paused job",
  cancel: "cancel a job between two steps",
  retry: "resume a failed or cancelled job from its last checkpoint",
};

export function addJobCommands(program: Command): void {
  addCommand(program, {
    name: "submit",
    does: "submit a job; its spec is a file, flags, or both; prints its id, and how it differs from the preset",
    examples: [
      "submit pretrain spec.yaml",
      "submit pretrain --preset small --dataset fashion-mnist --set epochs=20 --set optimizer.lr=0.06",
      "submit pretrain spec.yaml --set seed=1 --name 'seed 1' --metadata project=cells --watch",
      "submit knn --set from=run_… --set k=20",
    ],
  })
    .argument("<type>", jobTypes.join(", "))
    .argument("[spec]", "YAML or JSON; - for stdin")
    .option("--set <field=value>", "a field of the spec (repeatable)", several, [])
    .addOption(new Option("--preset <name>", "of a pretrain job").choices(Object.keys(presets)))
    .option("--dataset <source>", "fashion-mnist, cifar10, cifar100, a folder or a tar")
    .option("--name <name>", "to find it by")
    .option("--priority <n>", "-1000 to 1000; higher runs first")
    .option("--metadata <key=value>", "to find it by (repeatable)", several, [])
    .option("--watch", "follow it to its end")
    .action(async (type: string, file: string | undefined, options) =>
      submitJob(clientOf(envOf(options)), type as JobType, file, options),
    );

  addCommand(program, {
    name: "probe",
    does: "evaluate the encoder of a run: submits the job, waits for it, and prints the accuracy",
    examples: ["probe run_…", "probe run_… --type knn --checkpoint best", "probe run_… --set epochs=100 --set lr=0.3"],
  })
    .argument("<id>", "a pretrain job")
    .addOption(new Option("--type <type>", "how").choices(["linear-probe", "knn", "fine-tune"]).default("linear-probe"))
    .option("--checkpoint <which>", "last, best, or the number of an epoch", "last")
    .option("--set <field=value>", "a field of the spec (repeatable)", several, [])
    .action(async (id: string, options) => probeRun(clientOf(envOf(options)), id, options));

  addCommand(program, {
    name: "sweep",
    does: "run a spec for every combination of values and every seed, evaluate each, and print one table",
    examples: [
      "sweep spec.yaml --grid temperature=0.1,0.2 --grid optimizer.lr=0.03,0.06 --seeds 0,1,2",
      "sweep pipeline.yaml --watch",
    ],
  })
    .argument("<spec>", "a pretrain spec, or a pipeline (with `jobs`), as YAML or JSON; - for stdin")
    .option("--grid <field=values>", "a field of the pretrain spec and its values (repeatable)", several, [])
    .option("--seeds <list>", "0,1,2")
    .addOption(
      new Option("--judge <type>", "how every run is evaluated")
        .choices(["linear-probe", "knn", "fine-tune", "nothing"])
        .default("linear-probe"),
    )
    .option("--name <name>", "of the pipeline")
    .option("--watch", "wait for it, and print the table")
    .action(async (file: string, options) => submitSweep(clientOf(envOf(options)), file, options));

  addCommand(program, {
    name: "search",
    does: "find images by a sentence, of a retrieval job that has succeeded; prints cosine, number and texts, nearest first",
    examples: ['search run_… "a red heart"', 'search run_… "a red heart" --count 50 --json'],
  })
    .argument("<id>", "a retrieval job")
    .argument("<sentence>", "in the words of the texts that it was trained on")
    .option("--count <n>", "images at the most", "12")
    .action(async (id: string, sentence: string, options) =>
      searchImages(clientOf(envOf(options)), id, sentence, options),
    );

  for (const name of Object.keys(actionHelp) as ActionName[]) {
    addCommand(program, { name, does: actionHelp[name], examples: [`${name} run_…`] })
      .argument("<id>")
      .action(async (id: string, options) => {
        const job = await clientOf(envOf(options)).act(id, name);
        if (options.json) printJson(job);
        else console.log(job.status);
      });
  }

  addCommand(program, {
    name: "jobs",
    does: "list jobs, newest first",
    examples: ["jobs --status running", "jobs --type pretrain --name sweep --limit 100 --json"],
  })
    .addOption(new Option("--status <status>").choices(jobStatuses))
    .addOption(new Option("--type <type>").choices(jobTypes))
    .option("--name <text>", "part of the name")
    .option("--pipeline <id>", "only jobs of a pipeline")
    .option("--limit <n>", "maximum number", "20")
    .action(async (options) => listJobs(clientOf(envOf(options)), options));

  addCommand(program, { name: "show", does: "show a job as JSON", examples: ["show run_…"] })
    .argument("<id>")
    .action(async (id: string, options) => printJson(await clientOf(envOf(options)).job(id)));

  addCommand(program, {
    name: "logs",
    does: "show the log of a job and the changes of its status",
    examples: ["logs run_…"],
  })
    .argument("<id>")
    .action(async (id: string, options) => showLogs(clientOf(envOf(options)), id, options));

  addCommand(program, {
    name: "watch",
    does: "follow a job to its end: a bar on a terminal, one line per epoch in a pipe; prints its result",
    examples: ["watch run_…", "watch run_… 2> progress.txt > result.json"],
  })
    .argument("<id>")
    .action(async (id: string, options) => watchJob(clientOf(envOf(options)), id));

  addCommand(program, {
    name: "pull",
    does: "download the files of a run: all, or those named",
    examples: ["pull run_…", "pull run_… metrics.jsonl result.json --out figures"],
  })
    .argument("<id>")
    .argument("[files...]", "as the API lists them: metrics.jsonl, checkpoints/step-….safetensors")
    .option("--out <folder>", "unset: named after the run")
    .action(async (id: string, files: string[], options) => pull(clientOf(envOf(options)), id, files, options));

  addCommand(program, {
    name: "rm",
    does: "delete a finished job and all its files",
    examples: ["rm run_…"],
  })
    .argument("<id>")
    .action(async (id: string, options) => {
      await clientOf(envOf(options)).remove(id);
      if (options.json) printJson({ id, deleted: true });
    });
}
