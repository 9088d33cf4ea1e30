/** What route definitions share. */
import { z } from "@hono/zod-openapi";
import * as schemas from "./schemas.ts";

export const json = <T extends z.ZodType>(schema: T, description: string) => ({
  description,
  content: { "application/json": { schema } },
});
export const failure = (description: string) => ({
  description,
  content: { "application/problem+json": { schema: schemas.problemBody } },
});

export const params = z.object({ id: z.string().openapi({ param: { name: "id", in: "path" }, example: "run_01k…" }) });
export const missing = { 404: failure("no such job") };
export const invalid = { 422: failure("every bad field, what was got and what is allowed") };
export const full = { 503: failure("the store has no room, or is away") };
export const conflict = { 409: failure("its status, or that of a job that needs it, does not allow it") };

/** Answered with 404. */
export class UnknownJobError extends Error {
  override name = "UnknownJobError";
  constructor(id: string) {
    super(`there is no job ${id}`);
  }
}

/** What was looked up by a job's id. Throws UnknownJobError where that is nothing. */
export function found<T>(value: T | undefined, id: string): T {
  if (value === undefined) throw new UnknownJobError(id);
  return value;
}
