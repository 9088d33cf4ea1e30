/** Helpers that route definitions share. */
import { OpenAPIHono, z } from "@hono/zod-openapi";
import { fieldErrors } from "../src/schema/job.ts";
import { sha256 } from "../src/store/files.ts";
import * as examples from "./examples.ts";
import { problem, UnknownError } from "./problem.ts";
import * as schemas from "./schemas.ts";

/** Creates an app that answers an invalid request with a problem that names every invalid field. */
export const newApp = () =>
  new OpenAPIHono({
    defaultHook: (result, c) => {
      if (result.success) return;
      const given = (result as { data?: unknown }).data;
      return problem(c, 422, "the request is not valid", { errors: fieldErrors("", given, result.error.issues) });
    },
  });

/** Describes a JSON body with an example. */
export const json = <T extends z.ZodType>(schema: T, description: string, example: z.input<NoInfer<T>>) => ({
  description,
  content: { "application/json": { schema, example } },
});

/** Describes a problem response. */
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

/** Responses of every operation that needs a key. */
export const guarded = {
  ...failure(401, "a key is required: Authorization: Bearer mocod_…"),
  ...failure(403, "the scope of the key does not include this operation"),
  ...failure(429, "too many requests: the header retry-after has the seconds to wait"),
  ...failure(503, "Redis or the store is unreachable or full: try again"),
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
  ...failure(415, "the content type of the body is not application/json"),
};
export const badQuery = failure(422, "a parameter is not valid", {
  errors: [{ field: "limit", got: "0", allowed: "at least 1" }],
});
export const conflict = failure(409, "the status of the job, or of a job that needs it, does not allow this", {
  jobStatus: "running",
});
export const noSuchBytes = failure(416, "the file has fewer bytes");

export const idempotency = z.object({
  "idempotency-key": z
    .string()
    .min(1)
    .max(255)
    .optional()
    .describe("a request that is repeated with the same key and body is executed once"),
});
/** Reads the Idempotency-Key of a request, and the checksum of its body. */
export function idempotencyOf(
  { "idempotency-key": key }: z.infer<typeof idempotency>,
  body: unknown,
): { key: string; request: string } | undefined {
  return key === undefined ? undefined : { key, request: sha256(Buffer.from(JSON.stringify(body))) };
}

/** Returns what was looked up by an id; throws UnknownError where that is undefined. */
export function found<T>(value: T | undefined, id: string, what = "job"): T {
  if (value === undefined) throw new UnknownError(what, id);
  return value;
}
