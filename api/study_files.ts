/** The studies that are committed, in `studies/`: `<name>.yaml`. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { SpecError } from "../src/schema/job.ts";
import { parseStudy } from "../src/schema/study/check.ts";
import type { StudySpec } from "../src/schema/study/spec.ts";
import { FileError, messageOf } from "../src/util/errors.ts";

const FOLDER = join(import.meta.dir, "../studies");
const EXTENSION = ".yaml";

let known: Map<string, StudySpec> | undefined;

/** By name. Throws FileError where one of them is damaged. */
export function committedStudies(): ReadonlyMap<string, StudySpec> {
  if (known) return known;
  const files = readdirSync(FOLDER).filter((file) => file.endsWith(EXTENSION));
  known = new Map(files.sort().map((file) => [file.slice(0, -EXTENSION.length), read(join(FOLDER, file))]));
  return known;
}

function read(file: string): StudySpec {
  try {
    return parseStudy(parse(readFileSync(file, "utf8"), { merge: true }));
  } catch (error) {
    throw new FileError(file, messageOf(error), { cause: error });
  }
}

/** Throws SpecError where there is no such study. */
export function committedStudy(name: string): StudySpec {
  const found = committedStudies().get(name);
  if (found) return found;
  throw new SpecError([{ field: "name", got: name, allowed: [...committedStudies().keys()].join(", ") }]);
}
