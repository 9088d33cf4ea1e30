/** What every command has: settings, `--json`, examples. */
import { type Command, Option } from "commander";
import type { Env } from "../src/util/env.ts";
import { Client } from "./client.ts";
import { addSettings } from "./settings.ts";

export interface Described {
  readonly name: string;
  readonly does: string;
  /** Command lines, without `mocod`. */
  readonly examples: readonly string[];
}

export function addCommand(to: Command, { name, does, examples }: Described): Command {
  const prefix = to.parent ? `mocod ${to.name()}` : "mocod";
  const lines = examples.map((example) => `  ${prefix} ${example}`);
  const command = to
    .command(name)
    .description(does)
    .addHelpText("after", `\nExample${lines.length === 1 ? "" : "s"}:\n${lines.join("\n")}`);
  // First, so that help has the command's own options before the settings.
  command.addOption(new Option("--json", "results as JSON"));
  return addSettings(command);
}

export const clientOf = (env: Env): Client => new Client(`http://${env.host}:${env.port}`, env.apiKey);

/** Of an option that may be given again and again. */
export const several = (value: string, before: string[]): string[] => [...before, value];
