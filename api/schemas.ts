/** Wire schemas for the OpenAPI document; the meaning is validated by `parseSpec`. */
import { z } from "@hono/zod-openapi";
import { jobStatuses, jobTypes } from "../src/spec/job.ts";

export const submission = z.strictObject({
  type: z.enum(jobTypes as [string, ...string[]]),
  name: z.string().min(1).max(200).optional(),
  spec: z.record(z.string(), z.unknown()),
});

export const job = z
  .object({
    id: z.string(),
    type: z.enum(jobTypes as [string, ...string[]]),
    name: z.string().nullable(),
    status: z.enum(jobStatuses),
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

export const problemBody = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    errors: z.array(z.object({ field: z.string(), got: z.unknown(), allowed: z.string() })).optional(),
  })
  .openapi("Problem");
