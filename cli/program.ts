/** The command line. */
import tab from "@bomb.sh/tab/commander";
import { Command } from "commander";
import { VERSION } from "../src/util/version.ts";
import { addJobCommands } from "./job_commands.ts";
import { addServiceCommands } from "./service_commands.ts";
import { addStudyCommands } from "./study_commands.ts";
import { addToolCommands } from "./tool_commands.ts";

export function createProgram(): Command {
  const program = new Command("mocod")
    .description("Self-supervised pretraining as a service.")
    .version(VERSION)
    .addHelpText(
      "after",
      "\nSettings: flags, then environment variables (--data-dir is MOCOD_DATA_DIR), then mocod.yaml (data-dir)." +
        "\nExit codes: 0 success; 1 the request was invalid, or the job did not succeed; 130 interrupted." +
        "\nExample: mocod demo --fast",
    );
  addServiceCommands(program);
  addJobCommands(program);
  addStudyCommands(program);
  addToolCommands(program);
  // `mocod complete zsh` prints the completion script.
  tab(program);
  return program;
}
