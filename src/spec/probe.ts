import { z } from "zod";
import { datasetSpec } from "./dataset.ts";

/** A linear probe: logistic regression on the frozen features of a pretrained encoder. */
export const probeSpec = z.strictObject({
  from: z
    .string()
    .regex(/^run_[0-9a-z]+$/, "must be the id of a pretrain job")
    .describe("the pretrain job"),
  dataset: datasetSpec.optional().describe("labelled images; unset: those of the pretrain job"),
  epochs: z.int().min(1).max(10_000).default(30),
  batchSize: z.int().min(1).max(65_536).default(256),
  lr: z.number().gt(0).max(1000).default(0.1).describe("on standardised features, cosine by epoch"),
  momentum: z.number().min(0).lt(1).default(0.9),
  weightDecay: z.number().min(0).max(1).default(0),
  seed: z.int().min(0).max(0xffffffff).default(0),
  knn: z
    .strictObject({ k: z.int().min(1).default(200), temperature: z.number().gt(0).default(0.1) })
    .default({ k: 200, temperature: 0.1 }),
  baselines: z.boolean().default(false).describe("also raw pixels and the untrained encoder"),
});
export type ProbeSpec = z.infer<typeof probeSpec>;
