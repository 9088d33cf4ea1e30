/** Actions on jobs over HTTP: pause, resume, cancel, retry, extend, fork. */
import { createRoute } from "@hono/zod-openapi";
import type { z } from "zod";
import type { Jobs } from "../src/queue/jobs.ts";
import { extendSpec, forkSpec } from "../src/schema/fork.ts";
import { type ForkSource, type Job, type JobSpecs, parseStored, SpecError } from "../src/schema/job.ts";
import type { ActionName } from "../src/schema/life.ts";
import { sha256 } from "../src/store/files.ts";
import { START_FILE, type Start } from "../src/store/run_store.ts";
import * as examples from "./examples.ts";
import { conflict, found, guarded, invalid, json, missing, newApp, params } from "./routes.ts";
import * as schemas from "./schemas.ts";

const done: Record<ActionName, string> = {
  pause: "paused, or about to be between two steps",
  resume: "queued again, at its previous place",
  cancel: "cancelled, or about to be between two steps",
  retry: "queued again; it resumes from its last checkpoint",
};
const tags = ["actions"];

const actionRoute = <N extends ActionName>(name: N, summary: string) =>
  createRoute({
    method: "post",
    path: `/v1/jobs/{id}/${name}`,
    operationId: `${name}Job`,
    summary,
    tags,
    request: { params },
    responses: { 200: json(schemas.job, done[name], examples.job), ...missing, ...conflict, ...guarded },
  });

const extendRoute = createRoute({
  method: "post",
  path: "/v1/jobs/{id}/extend",
  operationId: "extendJob",
  summary: "Train a run further",
  tags,
  request: {
    params,
    body: { required: true, ...json(schemas.extension, "the total number of epochs", { epochs: 40 }) },
  },
  responses: {
    200: json(schemas.job, "queued again, to be trained further", { ...examples.job, status: "queued" }),
    ...missing,
    ...conflict,
    ...invalid,
    ...guarded,
  },
});
const forkRoute = createRoute({
  method: "post",
  path: "/v1/jobs/{id}/fork",
  operationId: "forkJob",
  tags,
  summary: "Start a run from a checkpoint of another one",
  request: {
    params,
    body: {
      required: true,
      ...json(schemas.fork, "the checkpoint, and the changes to the spec", {
        step: 2718,
        spec: { optimizer: { lr: 0.01 } },
      }),
    },
  },
  responses: {
    201: json(schemas.job, "the new job", {
      ...examples.job,
      forked: { from: { id: examples.id, step: 2718 }, keep: "state" },
    }),
    ...missing,
    ...invalid,
    ...guarded,
  },
});

/** The spec of a pretrain job; throws SpecError for any other. */
function expectPretrain(job: Job, what: string): JobSpecs["pretrain"] {
  if (job.type === "pretrain") return parseStored("pretrain", job.spec);
  throw new SpecError([{ field: "id", got: job.id, allowed: `a pretrain job: others cannot be ${what}` }]);
}

async function fork(jobs: Jobs, source: Job, body: z.infer<typeof schemas.fork>): Promise<Job> {
  const keep = body.keep as ForkSource["keep"];
  const spec = forkSpec(expectPretrain(source, "forked"), body.spec, keep);
  const run = jobs.records.run(source.id);
  const found = await run.goodCheckpoint(body.step === undefined ? "last" : { step: body.step });
  if (!found) {
    const steps = (await run.checkpoints()).map(({ step }) => step).join(", ") || "none yet";
    throw new SpecError([{ field: "step", got: body.step ?? null, allowed: `a checkpoint of ${source.id}: ${steps}` }]);
  }
  const forked: ForkSource = { from: { id: source.id, step: found.record.step }, keep };
  const { name = null, priority = source.priority, metadata = source.metadata } = body;
  return jobs.submissions.submit({
    type: "pretrain",
    name,
    priority,
    metadata,
    spec,
    forked,
    fill: async (own) => {
      await own.writeFile(START_FILE, found.bytes);
      await own.writeJson("start.json", { ...forked, sha256: sha256(found.bytes) } satisfies Start);
    },
  });
}

export function actionRoutes(jobs: Jobs) {
  const act = async (id: string, name: ActionName) => found(await jobs.life.act(id, name), id);
  return newApp()
    .openapi(actionRoute("pause", "Pause a job"), async (c) => c.json(await act(c.req.valid("param").id, "pause"), 200))
    .openapi(actionRoute("resume", "Resume a paused job"), async (c) =>
      c.json(await act(c.req.valid("param").id, "resume"), 200),
    )
    .openapi(actionRoute("cancel", "Cancel a job"), async (c) =>
      c.json(await act(c.req.valid("param").id, "cancel"), 200),
    )
    .openapi(actionRoute("retry", "Retry a failed or cancelled job"), async (c) =>
      c.json(await act(c.req.valid("param").id, "retry"), 200),
    )
    .openapi(extendRoute, async (c) => {
      const { id } = c.req.valid("param");
      const job = found(await jobs.records.get(id), id);
      const { epochs } = c.req.valid("json");
      const spec = extendSpec(expectPretrain(job, "extended"), epochs);
      return c.json(found(await jobs.life.extend(id, spec), id), 200);
    })
    .openapi(forkRoute, async (c) => {
      const { id } = c.req.valid("param");
      const source = found(await jobs.records.get(id), id);
      return c.json(await fork(jobs, source, c.req.valid("json")), 201);
    });
}
