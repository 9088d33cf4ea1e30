/** The settings of a command: flags, then environment variables, then a file, all with the same names. */
import { existsSync, readFileSync } from "node:fs";
import { type Command, Option } from "commander";
import { parse } from "yaml";
import { type Env, readEnv, variables } from "../src/util/env.ts";
import { messageOf, UserError } from "../src/util/errors.ts";

/** `MOCOD_DATA_DIR` is `data-dir` in a file and `--data-dir` as a flag. */
const nameOf = (variable: string): string =>
  variable
    .replace(/^MOCOD_/, "")
    .toLowerCase()
    .replaceAll("_", "-");

/** Settings that are also flags; the others are only for the file and the environment. */
const flags: [flag: string, variable: string, help: string][] = [
  ["--redis-url <url>", "REDIS_URL", "Redis to use; without it an embedded one"],
  ["--data-dir <folder>", "MOCOD_DATA_DIR", "runs, datasets and the embedded Redis (.mocod)"],
  ["--store <url>", "MOCOD_STORE", "where runs live: file:///folder (the data folder) or s3://bucket/prefix"],
  ["--host <host>", "MOCOD_HOST", "address of the API (127.0.0.1)"],
  ["--port <port>", "MOCOD_PORT", "port of the API, 0 for any (8787)"],
  ["--api-key <key>", "MOCOD_API_KEY", "for an API that has keys"],
  ["--threads <n>", "MOCOD_THREADS", "threads that train (all cores)"],
  ["--device <name>", "MOCOD_DEVICE", "auto, webgpu or wasm (auto: a GPU where there is a real one)"],
];
const CONFIG = "mocod.yaml";

/** Adds the flags of the settings to a command. */
export function addSettings(to: Command): Command {
  for (const [flag, , help] of flags) to.addOption(new Option(flag, help).helpGroup("Settings:"));
  return to.addOption(
    new Option("--config <file>", `YAML or JSON with these and the other settings (${CONFIG}, if there is one)`)
      .env("MOCOD_CONFIG")
      .helpGroup("Settings:"),
  );
}

/**
 * Reads the variables of a configuration file.
 *
 * @throws UserError that names an unknown setting or an invalid value.
 */
export function readConfig(file: string): Record<string, string> {
  let given: unknown;
  try {
    given = parse(readFileSync(file, "utf8")) ?? {};
  } catch (error) {
    throw new UserError(`${file}: ${messageOf(error)}`);
  }
  const known = new Map(variables.map((variable) => [nameOf(variable), variable]));
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw new UserError(`${file}: got no names and values; allowed are ${[...known.keys()].join(", ")}`);
  }
  const pairs = Object.entries(given).map(([name, value]): [string, string] => {
    const variable = known.get(name);
    if (!variable)
      throw new UserError(`${file}: ${name}: no such setting; allowed are ${[...known.keys()].join(", ")}`);
    if (typeof value === "object")
      throw new UserError(`${file}: ${name}: got ${JSON.stringify(value)}, allowed: one value`);
    return [variable, String(value)];
  });
  return Object.fromEntries(pairs);
}

/** Combines flags, environment and file. */
export function envOf(options: Record<string, unknown>): Env {
  const { config } = options;
  const file = typeof config === "string" ? config : existsSync(CONFIG) ? CONFIG : undefined;
  if (file !== undefined && !existsSync(file)) throw new UserError(`${file}: is not there`);
  const set = Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== ""));
  const given = flags.flatMap(([flag, variable]) => {
    const value = options[new Option(flag).attributeName()];
    return typeof value === "string" ? [[variable, value] as const] : [];
  });
  return readEnv({ ...(file !== undefined && readConfig(file)), ...set, ...Object.fromEntries(given) });
}
