/** Jobs over HTTP: submit, look, and what can be asked of one. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import type { Jobs } from "../src/queue/jobs.ts";
import { extendSpec, forkSpec } from "../src/spec/fork.ts";
import { type ForkSource, type Job, type JobSpecs, type JobType, parseSpec, SpecError } from "../src/spec/job.ts";
import { type ActionName, actions } from "../src/spec/life.ts";
import { sha256 } from "../src/store/files.ts";
import { START_FILE, type Start } from "../src/store/run_store.ts";
import { problem } from "./problem.ts";
import * as schemas from "./schemas.ts";

const json = <T extends z.ZodType>(schema: T, description: string) => ({
  description,
  content: { "application/json": { schema } },
});
export const failure = (description: string) => ({
  description,
  content: { "application/problem+json": { schema: schemas.problemBody } },
});
export const params = z.object({ id: z.string() });
const missing = { 404: failure("no such job") };
const invalid = { 422: failure("every bad field, what was got and what is allowed") };
const full = { 503: failure("the store has no room, or is away") };

const submitRoute = createRoute({
  method: "post",
  path: "/v1/jobs",
  request: { body: { required: true, ...json(schemas.submission, "the job") } },
  responses: { 201: json(schemas.job, "accepted"), ...invalid, ...full },
});
const listRoute = createRoute({
  method: "get",
  path: "/v1/jobs",
  request: { query: z.object({ limit: z.coerce.number().int().min(1).max(1000).default(100) }) },
  responses: { 200: json(z.object({ jobs: z.array(schemas.job) }), "newest first") },
});
const getRoute = createRoute({
  method: "get",
  path: "/v1/jobs/{id}",
  request: { params },
  responses: { 200: json(schemas.job, "the job"), ...missing },
});
const checkpointsRoute = createRoute({
  method: "get",
  path: "/v1/jobs/{id}/checkpoints",
  request: { params },
  responses: { 200: json(z.object({ checkpoints: z.array(schemas.checkpoint) }), "newest first"), ...missing },
});
const extendRoute = createRoute({
  method: "post",
  path: "/v1/jobs/{id}/extend",
  request: { params, body: { required: true, ...json(schemas.extension, "how far") } },
  responses: {
    200: json(schemas.job, "queued again, to be trained on"),
    ...missing,
    409: failure("the job has not succeeded"),
    ...invalid,
  },
});
const forkRoute = createRoute({
  method: "post",
  path: "/v1/jobs/{id}/fork",
  request: { params, body: { required: true, ...json(schemas.fork, "from where, and what differs") } },
  responses: { 201: json(schemas.job, "the new job"), ...missing, ...invalid, ...full },
});

const done: Record<ActionName, string> = {
  pause: "paused, or will be between two steps",
  resume: "in the queue again, at its old place",
  cancel: "cancelled, or will be between two steps",
  retry: "in the queue again; it goes on from its last checkpoint",
};
const actionRoute = (name: ActionName) =>
  createRoute({
    method: "post",
    path: `/v1/jobs/{id}/${name}` as "/v1/jobs/{id}/cancel",
    request: { params },
    responses: { 200: json(schemas.job, done[name]), ...missing, 409: failure("its status does not allow it") },
  });

const workersRoute = createRoute({
  method: "get",
  path: "/v1/workers",
  responses: { 200: json(z.object({ workers: z.array(schemas.worker) }), "those that are alive") },
});

/** Throws SpecError unless a job of such a spec can ever run. */
async function expectSource(jobs: Jobs, spec: JobSpecs[JobType]): Promise<void> {
  if (!("from" in spec)) return;
  const source = await jobs.get(spec.from);
  const refuse = (allowed: string) => new SpecError([{ field: "spec.from", got: spec.from, allowed }]);
  if (source?.type !== "pretrain") throw refuse("the id of a pretrain job");
  if (source.status === "failed" || source.status === "cancelled") {
    throw refuse(`a pretrain job that can end well (the status of this one is ${source.status})`);
  }
}

function expectPretrain(job: Job, what: string): JobSpecs["pretrain"] {
  if (job.type === "pretrain") return parseSpec("pretrain", job.spec);
  throw new SpecError([{ field: "id", got: job.id, allowed: `a pretrain job: others cannot be ${what}` }]);
}

async function fork(jobs: Jobs, source: Job, body: z.infer<typeof schemas.fork>): Promise<Job> {
  const keep = body.keep as ForkSource["keep"];
  const spec = forkSpec(expectPretrain(source, "forked"), body.spec, keep);
  const run = jobs.run(source.id);
  const found = await run.newestCheckpoint(() => undefined, body.step);
  if (!found) {
    const steps = (await run.checkpoints()).map(({ step }) => step).join(", ") || "none yet";
    throw new SpecError([{ field: "step", got: body.step ?? null, allowed: `a checkpoint of ${source.id}: ${steps}` }]);
  }
  const forked: ForkSource = { from: { id: source.id, step: found.record.step }, keep };
  return jobs.submit({
    type: "pretrain",
    ...{ name: body.name ?? null, priority: body.priority ?? source.priority, spec, forked },
    fill: async (own) => {
      await own.writeFile(START_FILE, found.bytes);
      await own.writeJson("start.json", { ...forked, sha256: sha256(found.bytes) } satisfies Start);
    },
  });
}

export function addJobs(app: OpenAPIHono, jobs: Jobs): void {
  app.openapi(submitRoute, async (c) => {
    const { type, name, priority, spec } = c.req.valid("json");
    const parsed = parseSpec(type as JobType, spec);
    await expectSource(jobs, parsed);
    const of = { type: type as JobType, name: name ?? null, spec: parsed, priority: priority ?? 0 };
    return c.json((await jobs.submit(of)) as never, 201);
  });

  app.openapi(listRoute, async (c) => c.json({ jobs: await jobs.list(c.req.valid("query").limit) } as never, 200));

  app.openapi(getRoute, async (c) => {
    const { id } = c.req.valid("param");
    const job = await jobs.get(id);
    return (job ? c.json(job, 200) : unknownJob(c, id)) as never;
  });

  app.openapi(checkpointsRoute, async (c) => {
    const { id } = c.req.valid("param");
    if (!(await jobs.get(id))) return unknownJob(c, id) as never;
    return c.json({ checkpoints: await jobs.run(id).checkpoints() } as never, 200);
  });

  for (const name of Object.keys(actions) as ActionName[]) {
    app.openapi(actionRoute(name), async (c) => {
      const { id } = c.req.valid("param");
      const job = await jobs.act(id, name);
      return (job ? c.json(job, 200) : unknownJob(c, id)) as never;
    });
  }

  app.openapi(extendRoute, async (c) => {
    const { id } = c.req.valid("param");
    const job = await jobs.get(id);
    if (!job) return unknownJob(c, id) as never;
    const { epochs } = c.req.valid("json");
    return c.json((await jobs.extend(id, extendSpec(expectPretrain(job, "extended"), epochs))) as never, 200);
  });

  app.openapi(forkRoute, async (c) => {
    const { id } = c.req.valid("param");
    const source = await jobs.get(id);
    if (!source) return unknownJob(c, id) as never;
    return c.json((await fork(jobs, source, c.req.valid("json"))) as never, 201);
  });

  app.openapi(workersRoute, async (c) => c.json({ workers: await jobs.fleet.list() } as never, 200));
}

export const unknownJob = (c: Parameters<typeof problem>[0], id: string): Response =>
  problem(c, 404, `there is no job ${id}`);
