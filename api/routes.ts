/** What route definitions share. */
import { OpenAPIHono, z } from "@hono/zod-openapi";
import { fieldErrors } from "../src/schema/job.ts";
import { sha256 } from "../src/store/files.ts";
import * as examples from "./examples.ts";
import { problem, UnknownError } from "./problem.ts";
import * as schemas from "./schemas.ts";

/** An app whose requests are answered by what was bad about them, each field named. */
export const newApp = () =>
  new OpenAPIHono({
    defaultHook: (result, c) => {
      if (result.success) return;
      const given = (result as { data?: unknown }).data;
      return problem(c, 422, "the request is not valid", { errors: fieldErrors("", given, result.error.issues) });
    },
  });

/** A body or an answer, with an example of it. */
export const json = <T extends z.ZodType>(schema: T, description: string, example: z.input<NoInfer<T>>) => ({
  description,
  content: { "application/json": { schema, example } },
});

export const failure = <S extends number>(status: S, description: string, more: object = {}) =>
  ({
    [status]: {
      description,
      content: {
        "application/problem+json": {
          schema: schemas.problemBody,
          example: { type: "about:blank", title: description, status, ...more },
        },
      },
    },
  }) as {
    [K in S]: { description: string; content: { "application/problem+json": { schema: typeof schemas.problemBody } } };
  };

/** What any operation may be answered with that a key is asked for. */
export const guarded = {
  ...failure(401, "a key is asked for: Authorization: Bearer mocod_…"),
  ...failure(403, "the key's scope does not cover it"),
  ...failure(429, "too many requests: the header retry-after says for how long to wait"),
  ...failure(503, "Redis or the store is away, or has no room: try again"),
};
export const params = z.object({ id: z.string().openapi({ param: { name: "id", in: "path" }, example: examples.id }) });
export const missing = failure(404, "there is no such job");
export const missingFile = failure(404, "there is no such job, or it has no such file");
export const missingPipeline = failure(404, "there is no such pipeline");
export const missingWebhook = failure(404, "there is no such webhook");
export const invalid = {
  ...failure(422, "the request is not valid", {
    errors: [{ field: "spec.temperature", got: 0, allowed: "more than 0" }],
  }),
  ...failure(400, "the body is not JSON"),
  ...failure(413, "the body is too large"),
  ...failure(415, "the body is of another type than application/json"),
};
export const badQuery = failure(422, "a parameter is not valid", {
  errors: [{ field: "limit", got: "0", allowed: "at least 1" }],
});
export const conflict = failure(409, "its status, or that of a job that needs it, does not allow it", {
  jobStatus: "running",
});
export const noSuchBytes = failure(416, "the file has fewer bytes");

export const idempotency = z.object({
  "idempotency-key": z
    .string()
    .min(1)
    .max(255)
    .optional()
    .describe("sent again with the same body: the same answer, and nothing is done twice"),
});
/** Of a request that has a key. */
export function idempotencyOf(
  { "idempotency-key": key }: z.infer<typeof idempotency>,
  body: unknown,
): { key: string; request: string } | undefined {
  return key === undefined ? undefined : { key, request: sha256(Buffer.from(JSON.stringify(body))) };
}

/** What was looked up by an id. Throws UnknownError where that is nothing. */
export function found<T>(value: T | undefined, id: string, what = "job"): T {
  if (value === undefined) throw new UnknownError(what, id);
  return value;
}
