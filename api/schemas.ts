/** Schemas of requests and responses, for the OpenAPI document. `parseSpec` validates the specs themselves. */
import { z } from "@hono/zod-openapi";
import { pipelineStatuses } from "../src/queue/pipelines/pipeline.ts";
import { LONGEST_QUERY, MOST_FOUND } from "../src/schema/evaluation.ts";
import { jobStatuses, jobTypes } from "../src/schema/job.ts";
import { pipelineSpec } from "../src/schema/pipeline.ts";
import { datasetStatuses } from "../src/store/stored_dataset.ts";
import { webhookEvents } from "../src/store/webhooks.ts";

export const type = z.enum(jobTypes);
export const name = z.string().min(1).max(200);
export const priority = z.int().min(-1000).max(1000).describe("jobs of a higher priority run first; default 0");
export const metadata = z
  .record(z.string().min(1).max(64), z.string().max(512))
  .refine((pairs) => Object.keys(pairs).length <= 16, "at most 16 pairs")
  .describe("arbitrary pairs, to find jobs by");
const keep = z.enum(["state", "weights"]);

export const submission = z.strictObject({
  type,
  name: name.optional(),
  priority: priority.optional(),
  metadata: metadata.optional(),
  spec: z.record(z.string(), z.unknown()),
});

export const extension = z.strictObject({
  epochs: z.int().min(1).max(100_000).describe("total number of epochs, including those already trained"),
});

export const fork = z.strictObject({
  name: name.optional(),
  priority: priority.optional(),
  metadata: metadata.optional(),
  step: z.int().min(0).optional().describe("step of the checkpoint; unset: the newest"),
  keep: keep
    .default("state")
    .describe("state: resume after that step; weights: both encoders, with everything else new"),
  spec: z.record(z.string(), z.unknown()).default({}).describe("changes to the spec of the forked run"),
});

const progress = z.object({
  epoch: z.int().describe("of the fit in progress, for a job on an encoder"),
  epochs: z.int().describe("0: the job has none"),
  step: z.int().describe("steps done; for a job on an encoder the images that were embedded or trained on"),
  steps: z.int(),
  loss: z.number().nullable(),
  imagesPerSecond: z.number().nullable(),
  eta: z.number().nullable().describe("seconds left at the current pace"),
  knn: z.number().nullable().describe("top-1 accuracy of the monitor"),
  dataWait: z.number().describe("share of the time spent waiting for images"),
  checkpointSeconds: z.number().nullable().describe("seconds from the snapshot of the newest checkpoint to the store"),
  verdict: z.object({ state: z.string(), message: z.string() }).nullable(),
});

export const job = z
  .object({
    id: z.string(),
    type,
    name: z.string().nullable(),
    status: z.enum(jobStatuses),
    priority,
    waitingFor: z.string().nullable().describe("why it does not run yet, where the status alone does not say so"),
    position: z.int().nullable().describe("position in the queue, from 1; null: not in a queue"),
    metadata: z.record(z.string(), z.string()),
    pipeline: z
      .object({ id: z.string(), job: z.string() })
      .nullable()
      .describe("the pipeline that it is part of, and its name there"),
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
    epoch: z.int().nullable().describe("epochs completed; null: written within an epoch"),
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
    memory: z.number().describe("memory of the machine in bytes"),
    startedAt: z.string(),
    seenAt: z.string(),
    job: z.string().nullable(),
  })
  .openapi("Worker");

export const search = z.strictObject({
  text: z.string().trim().min(1).max(LONGEST_QUERY).describe("a sentence, at most as long as the text tower's context"),
  count: z.int().min(1).max(MOST_FOUND).default(12).describe("images, where there are so many"),
});
export const searched = z.object({
  images: z
    .array(
      z.object({
        image: z.int().describe("its number in the split"),
        cosine: z.number(),
        texts: z.array(z.string()).describe("its own"),
        place: z.int().nullable().describe("in gallery.json and thumbnails.png; null: it is not among those"),
      }),
    )
    .describe("nearest first"),
});

export const problemBody = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    jobStatus: z.enum(jobStatuses).optional().describe("status of the job, where that is the reason"),
    errors: z.array(z.object({ field: z.string(), got: z.unknown(), allowed: z.string() })).optional(),
  })
  .openapi("Problem");

/** `expand` validates the graph, and names every invalid field. */
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
    job: z.string().describe("name of the job in the pipeline"),
    type,
    params: z.record(z.string(), z.unknown()).describe("the swept fields that the job depends on"),
    figures: z.record(
      z.string(),
      z.object({
        mean: z.number(),
        std: z.number().nullable().describe("sample standard deviation over the seeds; null for a single seed"),
        values: z.array(z.number()).readonly(),
      }),
    ),
    seeds: z.array(z.int().nullable()).readonly().describe("seeds that have succeeded"),
    succeeded: z.int(),
    failed: z.int().describe("failed or cancelled jobs"),
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
    status: z.enum(pipelineStatuses).describe("failed: all jobs have finished, and not all have succeeded"),
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
    why: z.string().describe("reason for the choice of the device"),
    threads: z.int(),
    tapes: z
      .enum(["kept", "recomputed"])
      .nullable()
      .describe("of a loss over the whole batch: whether forward passes stay in memory; null: of no such loss"),
    images: z.int().describe("training images, without the held-out ones"),
    memory: z.object({
      state: z.number().describe("parameters, momenta, gradients, queue"),
      thread: z.number().describe("per thread"),
      threads: z.int().describe("threads that have as much; one a split where batch norm spans them"),
      checkpoint: z.number().describe("while a checkpoint is written"),
      program: z.number(),
      images: z.number(),
      gpu: z.number().describe("on the GPU"),
      total: z.number(),
    }),
    disk: z.number().describe("bytes that decoded images may take on the worker's disk; 0 where none are kept"),
    passes: z.int().describe("passes of a batch through the encoders"),
    time: z.object({
      step: z.number(),
      stepsPerEpoch: z.int(),
      watch: z.number().describe("one evaluation of the kNN monitor"),
      epoch: z.number(),
      total: z.number(),
    }),
    warnings: z.array(z.string()),
    worker: z.string().describe("id of the worker that has measured"),
    busy: z.boolean().describe("whether the worker was running a job meanwhile"),
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
  .extend({ secret: z.string().describe("verifies signatures: whsec_ and base64") })
  .openapi("SecretWebhook");

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "64 hexadecimal digits");
const importUrl = z
  .string()
  .max(4000)
  .refine((url) => {
    if (/^s3:\/\/[^/]+\/./.test(url)) return true;
    return /^https?:\/\//i.test(url) && URL.canParse(url) && new URL(url).username === "";
  }, "an http or https URL without a user or password, or s3://bucket/key")
  .describe("of an archive that the service imports; unset: it is uploaded in parts");
export const newDataset = z
  .strictObject({
    name: z
      .string()
      .min(1)
      .max(200)
      .optional()
      .describe("free; shown in lists; unset: the last part of `url`, without which a name is needed"),
    url: importUrl.optional(),
    sha256: sha256
      .optional()
      .describe("of the file at `url`; an import of another file fails; unset: it is not checked"),
  })
  .refine(({ name, url }) => name !== undefined || url !== undefined, {
    path: ["name"],
    error: "a name, or a url to import from",
  })
  .refine(({ url, sha256: sum }) => url !== undefined || sum === undefined, {
    path: ["sha256"],
    error: "a checksum with a url; that of an upload is given when it is completed",
  });
export const part = z.object({ bytes: z.number(), sha256: z.string() });
export const completion = z.strictObject({
  sha256: sha256.optional().describe("of the whole file; another one is refused; unset: it is not checked"),
});
const counts = z.record(z.string(), z.int());
const channels = z.array(z.number().nullable()).readonly();
const partReport = z.object({
  images: z.int().describe("that can be decoded"),
  classes: counts.describe("images of each class; empty where there are none"),
  sizes: counts.describe("`width`x`height`, most frequent first"),
  brokenCount: z.int(),
  broken: z.array(z.string()).readonly().describe("name and error of the first 1000 files that cannot be decoded"),
  mean: channels.describe("per channel in [0, 1], over all pixels"),
  std: channels,
  texts: z
    .object({
      images: z.int().describe("that have a text"),
      texts: z.int(),
      meanCharacters: z.number(),
      mostCharacters: z.int(),
      withoutCount: z.int().describe("images that have none and are left out"),
      without: z.array(z.string()).readonly().describe("the first 100 of them"),
    })
    .optional()
    .describe("absent where the dataset's `texts` is unset"),
});
export const datasetReport = z
  .object({
    train: partReport,
    test: partReport.nullable(),
    leftOut: counts.describe("files that are no images that are read, by extension"),
    notes: z.array(z.string()).readonly(),
  })
  .openapi("DatasetReport");
export const dataset = z
  .object({
    id: z.string(),
    name: z.string(),
    status: z
      .enum(datasetStatuses)
      .describe("importing: the service fetches it from `url`; failed: it could not, `error` says why"),
    createdAt: z.string(),
    bytes: z.number().describe("of the file; of what has arrived of it before it is ready"),
    total: z.number().nullable().describe("bytes of a file that is imported, where its server has said them"),
    url: z.string().nullable().describe("where it was imported from, without its query; null: it was uploaded"),
    error: z.string().nullable().describe("why its import has failed"),
    sha256: z.string().nullable(),
    partBytes: z.number().describe("of every part but the last"),
    received: z.array(z.number()).describe("numbers of the parts that have arrived, while it is uploaded"),
    contents: z
      .object({
        train: z.number(),
        test: z.number().nullable(),
        classes: z.number(),
        channels: z.number().describe("of the images as they are held"),
        notes: z.array(z.string()),
        error: z.string().nullable().describe("why it cannot be read; then the rest is missing"),
      })
      .partial()
      .nullable(),
  })
  .openapi("Dataset");
