/** Wire schemas for the OpenAPI document; the meaning of a spec is validated by `parseSpec`. */
import { z } from "@hono/zod-openapi";
import { jobStatuses, jobTypes } from "../src/spec/job.ts";

export const type = z.enum(jobTypes);
const name = z.string().min(1).max(200);
const priority = z.int().min(-1000).max(1000).describe("the higher goes first; 0 unless given");
const metadata = z
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

export const job = z
  .object({
    id: z.string(),
    type,
    name: z.string().nullable(),
    status: z.enum(jobStatuses),
    priority,
    waitingFor: z.string().nullable().describe("why it is not running, where that is not plain"),
    metadata: z.record(z.string(), z.string()),
    forked: z.object({ from: z.object({ id: z.string(), step: z.int() }), keep }).nullable(),
    progress: z.record(z.string(), z.unknown()).nullable(),
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
