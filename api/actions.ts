/** What can be asked of a job: pause, resume, cancel, retry, extend, fork. */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";
import type { z } from "zod";
import type { Jobs } from "../src/queue/jobs.ts";
import { submit } from "../src/queue/submit.ts";
import { extendSpec, forkSpec } from "../src/spec/fork.ts";
import { type ForkSource, type Job, type JobSpecs, parseSpec, SpecError } from "../src/spec/job.ts";
import { type ActionName, actions } from "../src/spec/life.ts";
import { sha256 } from "../src/store/files.ts";
import { START_FILE, type Start } from "../src/store/run_store.ts";
import { conflict, found, full, invalid, json, missing, params } from "./routes.ts";
import * as schemas from "./schemas.ts";

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
    responses: { 200: json(schemas.job, done[name]), ...missing, ...conflict },
  });

const extendRoute = createRoute({
  method: "post",
  path: "/v1/jobs/{id}/extend",
  request: { params, body: { required: true, ...json(schemas.extension, "how far") } },
  responses: { 200: json(schemas.job, "queued again, to be trained on"), ...missing, ...conflict, ...invalid },
});
const forkRoute = createRoute({
  method: "post",
  path: "/v1/jobs/{id}/fork",
  request: { params, body: { required: true, ...json(schemas.fork, "from where, and what differs") } },
  responses: { 201: json(schemas.job, "the new job"), ...missing, ...invalid, ...full },
});

function expectPretrain(job: Job, what: string): JobSpecs["pretrain"] {
  if (job.type === "pretrain") return parseSpec("pretrain", job.spec);
  throw new SpecError([{ field: "id", got: job.id, allowed: `a pretrain job: others cannot be ${what}` }]);
}

async function fork(jobs: Jobs, source: Job, body: z.infer<typeof schemas.fork>): Promise<Job> {
  const keep = body.keep as ForkSource["keep"];
  const spec = forkSpec(expectPretrain(source, "forked"), body.spec, keep);
  const run = jobs.run(source.id);
  const found = await run.goodCheckpoint(body.step === undefined ? "last" : { step: body.step });
  if (!found) {
    const steps = (await run.checkpoints()).map(({ step }) => step).join(", ") || "none yet";
    throw new SpecError([{ field: "step", got: body.step ?? null, allowed: `a checkpoint of ${source.id}: ${steps}` }]);
  }
  const forked: ForkSource = { from: { id: source.id, step: found.record.step }, keep };
  const { name = null, priority = source.priority, metadata = source.metadata } = body;
  return submit(jobs, {
    ...{ type: "pretrain", name, priority, metadata, spec, forked },
    fill: async (own) => {
      await own.writeFile(START_FILE, found.bytes);
      await own.writeJson("start.json", { ...forked, sha256: sha256(found.bytes) } satisfies Start);
    },
  });
}

export function addActions(app: OpenAPIHono, jobs: Jobs): void {
  for (const name of Object.keys(actions) as ActionName[]) {
    app.openapi(actionRoute(name), async (c) => {
      const { id } = c.req.valid("param");
      return c.json(found(await jobs.act(id, name), id) as never, 200);
    });
  }

  app.openapi(extendRoute, async (c) => {
    const { id } = c.req.valid("param");
    const job = found(await jobs.get(id), id);
    const { epochs } = c.req.valid("json");
    return c.json((await jobs.extend(id, extendSpec(expectPretrain(job, "extended"), epochs))) as never, 200);
  });

  app.openapi(forkRoute, async (c) => {
    const { id } = c.req.valid("param");
    const source = found(await jobs.get(id), id);
    return c.json((await fork(jobs, source, c.req.valid("json"))) as never, 201);
  });
}
