/** Errors as RFC 9457 problem+json. */
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { FieldError } from "../src/spec/job.ts";

export function problem(c: Context, status: ContentfulStatusCode, title: string, errors?: FieldError[]): Response {
  const body = { type: "about:blank", title, status, ...(errors && { errors }) };
  return c.body(JSON.stringify(body), status, { "content-type": "application/problem+json" });
}
