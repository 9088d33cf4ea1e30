#!/usr/bin/env bun
import { SpecError } from "../src/schema/job.ts";
import { UserError } from "../src/util/errors.ts";
import { createProgram } from "./program.ts";

process.env.MSGPACKR_NATIVE_ACCELERATION_DISABLED = "true";

try {
  await createProgram().parseAsync();
  process.exit(process.exitCode ?? 0);
} catch (error) {
  if (!(error instanceof UserError || error instanceof SpecError)) throw error;
  console.error(error.message);
  process.exit(1);
}
