/** Specs from the command line: a file in YAML or JSON, and flags that set single fields. */
import { existsSync, readFileSync } from "node:fs";
import { parse } from "yaml";
import { fromPreset } from "../src/schema/difference.ts";
import type { Job, JobSpecs } from "../src/schema/job.ts";
import { merge } from "../src/schema/merge.ts";
import { messageOf, UserError } from "../src/util/errors.ts";

/** Parses YAML: 0.1, true, [1, 2], text. Throws UserError that names `what`. */
function yamlOf(text: string, what: string): unknown {
  try {
    return parse(text, { merge: true });
  } catch (error) {
    throw new UserError(`${what} is neither YAML nor JSON: ${messageOf(error).split("\n")[0]}`);
  }
}

/** Reads a spec from a file of YAML or JSON, or from stdin for `-`. */
export async function readSpecFile(file: string): Promise<Record<string, unknown>> {
  if (file !== "-" && !existsSync(file)) throw new UserError(`${file}: is not there`);
  const value = yamlOf(file === "-" ? await Bun.stdin.text() : readFileSync(file, "utf8"), file);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UserError(`${file}: got ${JSON.stringify(value)}, allowed: fields and values`);
  }
  return value as Record<string, unknown>;
}

/** Splits an assignment such as `optimizer.lr=0.1`. */
export function assignment(text: string): [path: string, value: string] {
  const at = text.indexOf("=");
  if (at < 1) throw new UserError(`got "${text}", allowed: field=value`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** The values of a list of `field=value`, by field. */
export const assignedValues = (assignments: readonly string[]): Record<string, unknown> =>
  Object.fromEntries(
    assignments.map((text) => {
      const [path, value] = assignment(text);
      return [path, yamlOf(value, text)];
    }),
  );

/** Copies `spec` with every `field=value` of the list applied. */
export function withAssignments(spec: unknown, assignments: readonly string[]): Record<string, unknown> {
  return assignments.reduce<Record<string, unknown>>(
    (whole, text) => {
      const [path, value] = assignment(text);
      const names = path.split(".");
      const change = names.reduceRight<unknown>((inner, name) => ({ [name]: inner }), yamlOf(value, text));
      return merge(whole, change) as Record<string, unknown>;
    },
    { ...(spec as object) },
  );
}

/** Lists the differences between a pretraining job and the nearest preset, one line per field. */
export function describeSpec({ type, spec }: Pick<Job, "type" | "spec">): string[] {
  if (type !== "pretrain") return [];
  const { preset, differences } = fromPreset(spec as JobSpecs["pretrain"]);
  if (differences.length === 0) return [`as preset ${preset}`];
  return [
    `preset ${preset}, but`,
    ...differences.map(
      ({ field, preset: was, value }) => `  ${field.padEnd(28)} ${JSON.stringify(value)} (${JSON.stringify(was)})`,
    ),
  ];
}
