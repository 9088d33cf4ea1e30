/** Jobs over HTTP: submit, list, show, delete. */
import { createRoute, z } from "@hono/zod-openapi";
import type { Jobs } from "../src/queue/jobs.ts";
import { jobStatuses, parseSpec } from "../src/schema/job.ts";
import * as examples from "./examples.ts";
import type { ImageChecks } from "./images.ts";
import { UnknownError } from "./problem.ts";
import {
  badQuery,
  conflict,
  found,
  guarded,
  idempotency,
  idempotencyOf,
  invalid,
  json,
  missing,
  newApp,
  params,
} from "./routes.ts";
import * as schemas from "./schemas.ts";

const tags = ["jobs"];

const submitRoute = createRoute({
  method: "post",
  path: "/v1/jobs",
  operationId: "submitJob",
  summary: "Submit a job",
  tags,
  request: {
    headers: idempotency,
    body: { required: true, ...json(schemas.submission, "the job", examples.submission) },
  },
  responses: { 201: json(schemas.job, "accepted and stored", examples.job), ...invalid, ...guarded },
});

const metadataKey = (name: string): string | undefined => name.match(/^metadata\[(.+)\]$/)?.[1];

const query = z
  .object({
    limit: z.coerce.number().int().min(1).max(1000).default(100),
    after: z.string().optional().describe("cursor: the `next` of the previous page"),
    order: z.enum(["asc", "desc"]).default("desc").describe("by time of creation; desc: newest first"),
    type: schemas.type.optional(),
    status: z.enum(jobStatuses).optional(),
    name: z.string().optional().describe("part of the name, case-insensitive"),
    from: z.string().optional().describe("id of a run: only jobs on its encoder"),
    pipeline: z.string().optional().describe("id of a pipeline: only its jobs"),
  })
  .catchall(z.string().describe("metadata[key]=value: a job must have every given pair"))
  .superRefine((given, context) => {
    const unknown = Object.keys(given).filter(
      (name) => !Object.hasOwn(query.shape, name) && metadataKey(name) === undefined,
    );
    const parameters = [...Object.keys(query.shape), "metadata[key]"].join(", ");
    const message = `no such parameter; there are ${parameters}`;
    for (const name of unknown) context.addIssue({ code: "custom", path: [name], message });
  });
const listRoute = createRoute({
  method: "get",
  path: "/v1/jobs",
  operationId: "listJobs",
  summary: "List jobs",
  tags,
  request: { query },
  responses: {
    200: json(z.object({ jobs: z.array(schemas.job), next: z.string().nullable() }), "a page; next: null on the last", {
      jobs: [examples.job],
      next: null,
    }),
    ...badQuery,
    ...guarded,
  },
});

const getRoute = createRoute({
  method: "get",
  path: "/v1/jobs/{id}",
  operationId: "getJob",
  summary: "Show a job",
  tags,
  request: { params },
  responses: { 200: json(schemas.job, "the job", examples.job), ...missing, ...guarded },
});

const deleteRoute = createRoute({
  method: "delete",
  path: "/v1/jobs/{id}",
  operationId: "deleteJob",
  summary: "Delete a finished job",
  tags,
  request: { params },
  responses: {
    204: { description: "deleted, with all its files in the store" },
    ...missing,
    ...conflict,
    ...guarded,
  },
});

/** Collects the parameters `metadata[key]=value`. */
function metadataOf(rest: Record<string, string>): Record<string, string> | undefined {
  const pairs = Object.entries(rest).map(([name, value]) => [metadataKey(name) as string, value] as const);
  return pairs.length > 0 ? Object.fromEntries(pairs) : undefined;
}

export const jobRoutes = (jobs: Jobs, images: ImageChecks) =>
  newApp()
    .openapi(submitRoute, async (c) => {
      const body = c.req.valid("json");
      const { name = null, priority = 0, metadata = {}, type } = body;
      const spec = parseSpec(type, body.spec);
      const job = await jobs.submissions.submit({
        type,
        name,
        spec,
        priority,
        metadata,
        idempotency: idempotencyOf(c.req.valid("header"), body),
        check: async () => {
          await jobs.submissions.expectSource(type, spec);
          await images.job(type, spec);
        },
      });
      return c.json(job, 201);
    })
    .openapi(listRoute, async (c) => {
      const { limit, after, order, type, status, name, pipeline, from, ...rest } = c.req.valid("query");
      const filter = { limit, after, order, type, status, name, pipeline, from, metadata: metadataOf(rest) };
      return c.json(await jobs.records.list(filter), 200);
    })
    .openapi(getRoute, async (c) => {
      const { id } = c.req.valid("param");
      return c.json(found(await jobs.records.get(id), id), 200);
    })
    .openapi(deleteRoute, async (c) => {
      const { id } = c.req.valid("param");
      if (!(await jobs.life.remove(id))) throw new UnknownError("job", id);
      return c.body(null, 204);
    });
