/** What every command shares: settings, `--json`, examples. */
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

/** Adds a command, with its examples, `--json` and the settings. */
export function addCommand(to: Command, { name, does, examples }: Described): Command {
  const prefix = to.parent ? `mocod ${to.name()}` : "mocod";
  const lines = examples.map((example) => `  ${prefix} ${example}`);
  const command = to
    .command(name)
    .description(does)
    .addHelpText("after", `\nExample${lines.length === 1 ? "" : "s"}:\n${lines.join("\n")}`);
  // Before the settings, so that help lists the command's own options first.
  command.addOption(new Option("--json", "results as JSON"));
  return addSettings(command);
}

export const clientOf = (env: Env): Client => new Client(`http://${env.host}:${env.port}`, env.apiKey);

/** Collects the values of an option that can be repeated. */
export const several = (value: string, before: string[]): string[] => [...before, value];
