/** Wire schemas for the OpenAPI document; the meaning of a spec is validated by `parseSpec`. */
import { z } from "@hono/zod-openapi";
import { pipelineStatuses } from "../src/queue/pipelines/pipeline.ts";
import { jobStatuses, jobTypes } from "../src/schema/job.ts";
import { pipelineSpec } from "../src/schema/pipeline.ts";
import { webhookEvents } from "../src/store/webhooks.ts";

export const type = z.enum(jobTypes);
export const name = z.string().min(1).max(200);
export const priority = z.int().min(-1000).max(1000).describe("the higher goes first; 0 unless given");
export const metadata = z
  .record(z.string().min(1).max(64), z.string().max(512))
  .refine((pairs) => Object.keys(pairs).length <= 16, "at most 16 pairs")
  .describe("free, to find jobs by");
const keep = z.enum(["state", "weights"]);

export const submission = z.strictObject({
  type,
  name: name.optional(),
  priority: priority.optional(),
  metadata: metadata.optional(),
  spec: z.record(z.string(), z.unknown()),
});

export const extension = z.strictObject({
  epochs: z.int().min(1).max(100_000).describe("in all, those that are done included"),
});

export const fork = z.strictObject({
  name: name.optional(),
  priority: priority.optional(),
  metadata: metadata.optional(),
  step: z.int().min(0).optional().describe("of the checkpoint; unset: the newest"),
  keep: keep.default("state").describe("state: go on behind that step; weights: both encoders, all else is new"),
  spec: z.record(z.string(), z.unknown()).default({}).describe("what differs from the run that is forked"),
});

const progress = z.object({
  epoch: z.int(),
  epochs: z.int(),
  step: z.int(),
  steps: z.int(),
  loss: z.number().nullable(),
  imagesPerSecond: z.number().nullable(),
  eta: z.number().nullable().describe("seconds left, by the pace so far"),
  knn: z.number().nullable().describe("top-1 of the monitor"),
  dataWait: z.number().describe("share of the time spent waiting for images"),
  checkpointSeconds: z.number().nullable().describe("from the snapshot of the newest checkpoint to the store"),
  verdict: z.object({ state: z.string(), message: z.string() }).nullable(),
});

export const job = z
  .object({
    id: z.string(),
    type,
    name: z.string().nullable(),
    status: z.enum(jobStatuses),
    priority,
    waitingFor: z.string().nullable().describe("why it is not running, where that is not plain"),
    position: z.int().nullable().describe("place in the queue, from 1; null: it is in none"),
    metadata: z.record(z.string(), z.string()),
    pipeline: z.object({ id: z.string(), job: z.string() }).nullable().describe("that it is part of, and as what"),
    forked: z.object({ from: z.object({ id: z.string(), step: z.int() }), keep }).nullable(),
    progress: progress.nullable(),
    spec: z.record(z.string(), z.unknown()),
    warnings: z.array(z.string()),
    result: z.unknown(),
    error: z.string().nullable(),
    createdAt: z.string(),
    startedAt: z.string().nullable(),
    finishedAt: z.string().nullable(),
  })
  .openapi("Job");

export const checkpoint = z
  .object({
    file: z.string(),
    sha256: z.string(),
    bytes: z.int(),
    step: z.int(),
    epoch: z.int().nullable().describe("epochs done; null: written in between"),
    knn: z.number().nullable(),
  })
  .openapi("Checkpoint");

export const worker = z
  .object({
    id: z.string(),
    host: z.string(),
    pid: z.int(),
    machine: z.string(),
    version: z.string(),
    device: z.string(),
    webgpu: z.boolean().describe("whether it takes jobs that need a GPU"),
    threads: z.int(),
    memory: z.number().describe("bytes of the machine"),
    startedAt: z.string(),
    seenAt: z.string(),
    job: z.string().nullable(),
  })
  .openapi("Worker");

export const problemBody = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    jobStatus: z.enum(jobStatuses).optional().describe("of the job, where that is what is in the way"),
    errors: z.array(z.object({ field: z.string(), got: z.unknown(), allowed: z.string() })).optional(),
  })
  .openapi("Problem");

/** The graph is validated by `expand`, which names every bad field. */
export const pipelineSubmission = z
  .strictObject({
    name: name.optional(),
    priority: priority.optional(),
    metadata: metadata.optional(),
    ...pipelineSpec.shape,
    sweep: pipelineSpec.shape.sweep.unwrap().optional(),
  })
  .openapi("PipelineSubmission");

export const resultRow = z
  .object({
    job: z.string().describe("its name in the pipeline"),
    type,
    params: z.record(z.string(), z.unknown()).describe("the swept fields that it depends on"),
    figures: z.record(
      z.string(),
      z.object({
        mean: z.number(),
        std: z.number().nullable().describe("sample standard deviation over the seeds; null for one"),
        values: z.array(z.number()).readonly(),
      }),
    ),
    seeds: z.array(z.int().nullable()).readonly().describe("those that have succeeded"),
    succeeded: z.int(),
    failed: z.int().describe("or cancelled"),
    unfinished: z.int(),
    ids: z.array(z.string()).readonly(),
  })
  .openapi("ResultRow");

export const pipeline = z
  .object({
    id: z.string(),
    name: z.string().nullable(),
    priority,
    metadata: z.record(z.string(), z.string()),
    createdAt: z.string(),
    finishedAt: z.string().nullable(),
    status: z.enum(pipelineStatuses).describe("failed: all are over, and not all have succeeded"),
    spec: z.object({ jobs: z.record(z.string(), z.unknown()), sweep: z.record(z.string(), z.unknown()).optional() }),
    counts: z.partialRecord(z.enum(jobStatuses), z.int()),
    jobs: z.array(
      z.object({
        id: z.string(),
        node: z.string(),
        type,
        params: z.record(z.string(), z.unknown()),
        seed: z.int().nullable(),
        status: z.enum(jobStatuses),
        error: z.string().nullable(),
      }),
    ),
    results: z.array(resultRow),
  })
  .openapi("Pipeline");

export const plan = z
  .object({
    device: z.string(),
    why: z.string().describe("why it is that one"),
    threads: z.int(),
    images: z.int().describe("training images, without those held out"),
    memory: z.object({
      state: z.number().describe("parameters, momenta, gradients, queue"),
      thread: z.number().describe("of each thread"),
      checkpoint: z.number().describe("while one is written"),
      program: z.number(),
      images: z.number(),
      gpu: z.number().describe("on the GPU"),
      total: z.number(),
    }),
    passes: z.int().describe("in which a batch goes through the encoders"),
    time: z.object({
      step: z.number(),
      stepsPerEpoch: z.int(),
      watch: z.number().describe("one vote of the monitor"),
      epoch: z.number(),
      total: z.number(),
    }),
    warnings: z.array(z.string()),
    worker: z.string().describe("which has measured"),
    busy: z.boolean().describe("it had a job in hand meanwhile"),
  })
  .openapi("Plan");

const webhookUrl = z
  .url({ protocol: /^https?$/, error: "an http or https URL" })
  .max(2000)
  .refine((url) => URL.canParse(url) && new URL(url).username === "", "a URL without a user or password")
  .openapi({ format: "uri" });

export const webhookSubmission = z.strictObject({
  url: webhookUrl,
  events: z
    .array(z.enum(webhookEvents))
    .min(1)
    .default(["job.succeeded", "job.failed", "job.cancelled", "pipeline.finished"]),
});

export const webhook = z
  .object({ id: z.string(), url: z.string(), events: z.array(z.enum(webhookEvents)).readonly(), createdAt: z.string() })
  .openapi("Webhook");

export const secretWebhook = webhook
  .extend({ secret: z.string().describe("to verify signatures with: whsec_ and base64") })
  .openapi("SecretWebhook");
