/** Jobs over HTTP: submit, look, delete. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import type { Jobs } from "../src/queue/jobs.ts";
import { expectSource, submit } from "../src/queue/submit.ts";
import { type JobStatus, type JobType, jobStatuses, parseSpec, SpecError } from "../src/spec/job.ts";
import { sha256 } from "../src/store/files.ts";
import { conflict, found, full, invalid, json, missing, params, UnknownJobError } from "./routes.ts";
import * as schemas from "./schemas.ts";

const idempotency = z.object({
  "idempotency-key": z
    .string()
    .min(1)
    .max(255)
    .optional()
    .describe("sent again with the same body: the same job, not a second one"),
});

const submitRoute = createRoute({
  method: "post",
  path: "/v1/jobs",
  request: { headers: idempotency, body: { required: true, ...json(schemas.submission, "the job") } },
  responses: { 201: json(schemas.job, "accepted: it is in the store"), ...invalid, ...full },
});

const query = z
  .object({
    limit: z.coerce.number().int().min(1).max(1000).default(100),
    after: z.string().optional().describe("the `next` of the page before"),
    order: z.enum(["asc", "desc"]).default("desc").describe("by time of creation; desc: newest first"),
    type: schemas.type.optional(),
    status: z.enum(jobStatuses).optional(),
    name: z.string().optional().describe("part of the name, in any case"),
  })
  .catchall(z.string().describe("metadata[key]=value: all that are given must fit"));
const listRoute = createRoute({
  method: "get",
  path: "/v1/jobs",
  request: { query },
  responses: {
    200: json(z.object({ jobs: z.array(schemas.job), next: z.string().nullable() }), "a page; next: null on the last"),
    ...invalid,
  },
});

const getRoute = createRoute({
  method: "get",
  path: "/v1/jobs/{id}",
  request: { params },
  responses: { 200: json(schemas.job, "the job"), ...missing },
});

const deleteRoute = createRoute({
  method: "delete",
  path: "/v1/jobs/{id}",
  request: { params },
  responses: { 204: { description: "gone, with everything that it left in the store" }, ...missing, ...conflict },
});

/** `metadata[key]=value`; throws SpecError that names a parameter which means nothing. */
function metadataOf(rest: Record<string, string>): Record<string, string> | undefined {
  const pairs = Object.entries(rest).map(([name, value]) => {
    const key = name.match(/^metadata\[(.+)\]$/)?.[1];
    if (key === undefined) throw new SpecError([{ field: name, got: value, allowed: "no such parameter" }]);
    return [key, value] as const;
  });
  return pairs.length > 0 ? Object.fromEntries(pairs) : undefined;
}

export function addJobs(app: OpenAPIHono, jobs: Jobs): void {
  app.openapi(submitRoute, async (c) => {
    const body = c.req.valid("json");
    const { name, priority, metadata } = body;
    const type = body.type as JobType;
    const spec = parseSpec(type, body.spec);
    const key = c.req.valid("header")["idempotency-key"];
    const job = await submit(jobs, {
      ...{ type, name: name ?? null, spec, priority: priority ?? 0, metadata: metadata ?? {} },
      idempotency: key === undefined ? undefined : { key, request: sha256(Buffer.from(JSON.stringify(body))) },
      check: () => expectSource(jobs, spec),
    });
    return c.json(job as never, 201);
  });

  app.openapi(listRoute, async (c) => {
    const { limit, after, order, type, status, name, ...rest } = c.req.valid("query");
    const of = { type: type as JobType | undefined, status: status as JobStatus | undefined };
    return c.json((await jobs.list({ ...of, limit, after, order, name, metadata: metadataOf(rest) })) as never, 200);
  });

  app.openapi(getRoute, async (c) => {
    const { id } = c.req.valid("param");
    return c.json(found(await jobs.get(id), id) as never, 200);
  });

  app.openapi(deleteRoute, async (c) => {
    const { id } = c.req.valid("param");
    if (!(await jobs.remove(id))) throw new UnknownJobError(id);
    return c.body(null, 204);
  });
}
