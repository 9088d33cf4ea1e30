/** Errors as RFC 9457 problem+json. */
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { ConflictError } from "../src/queue/life/life.ts";
import { KeyReusedError } from "../src/queue/life/submissions.ts";
import { NoWorkerError } from "../src/queue/questions.ts";
import { SpecError } from "../src/schema/job.ts";
import { StoreError } from "../src/store/errors.ts";
import { UploadError } from "../src/store/uploads.ts";
import { UserError } from "../src/util/errors.ts";

/** Something that was looked up by its id does not exist. Answered with 404. */
export class UnknownError extends Error {
  override name = "UnknownError";
  constructor(what: string, id: string) {
    super(`there is no ${what} ${id}`);
  }
}

/** Creates a problem response. */
export function problem(c: Context, status: ContentfulStatusCode, title: string, more: object = {}): Response {
  const body = { type: "about:blank", title, status, ...more };
  const headers = { "content-type": "application/problem+json", ...(status === 503 && { "retry-after": "5" }) };
  return c.body(JSON.stringify(body), status, headers);
}

/** Converts an error into a response. */
export function problemOf(c: Context, error: Error): Response {
  if ("getResponse" in error) return problem(c, (error as unknown as { status: 400 }).status, error.message);
  if (error instanceof UnknownError) return problem(c, 404, error.message);
  if (error instanceof SpecError) return problem(c, 422, "the spec is not valid", { errors: error.errors });
  if (error instanceof ConflictError) return problem(c, 409, error.message, { jobStatus: error.status });
  if (error instanceof KeyReusedError) return problem(c, 422, error.message);
  if (error instanceof StoreError) return problem(c, 503, `the store cannot be written or read: ${error.message}`);
  if (error instanceof NoWorkerError) return problem(c, 503, error.message);
  if (error instanceof UploadError) {
    const { field, got, allowed } = error;
    return problem(c, 422, "the upload is not valid", { errors: [{ field, got, allowed }] });
  }
  if (error instanceof UserError) return problem(c, 422, error.message);
  // The client has disconnected, and does not read this.
  if (error.name === "AbortError") return problem(c, 400, "the connection was closed before the request was complete");
  // The message of ioredis for a command without an answer within commandTimeout.
  if (error.message === "Command timed out") return problem(c, 503, "Redis does not answer; try again");
  console.error(error);
  return problem(c, 500, "internal error");
}
