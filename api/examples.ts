/** Examples of the OpenAPI document. A test parses each with its schema. */
import { parseSpec } from "../src/schema/job.ts";
import { PART_BYTES } from "../src/store/uploads.ts";

export const id = "run_01kb1v7q2m8z0x4c6n9d5t3h7j";
export const pipelineId = "pipe_01kb1v7q2m8z0x4c6n9d5t3h7j";
export const webhookId = "hook_01kb1v7q2m8z0x4c6n9d5t3h7j";
export const datasetId = "ds_01kb1v7q2m8z0x4c6n9d5t3h7j";
const at = "2026-11-25T09:00:00.000Z";

export const submission = {
  type: "pretrain" as const,
  name: "first try",
  metadata: { project: "cells" },
  spec: { preset: "small", dataset: { kind: "fashion-mnist" }, epochs: 20, optimizer: { lr: 0.06 } },
};

const progress = {
  epoch: 3,
  epochs: 20,
  step: 2718,
  steps: 18_120,
  loss: 5.213,
  imagesPerSecond: 4100,
  eta: 240,
  knn: 0.71,
  dataWait: 0.01,
  checkpointSeconds: 0.12,
  verdict: { state: "learning", message: "the loss falls and the keys are spread" },
};

export const job = {
  id,
  type: "pretrain" as const,
  name: "first try",
  status: "running" as const,
  priority: 0,
  waitingFor: null,
  position: null,
  metadata: { project: "cells" },
  pipeline: null,
  forked: null,
  progress,
  spec: parseSpec("pretrain", submission.spec),
  warnings: [],
  result: null,
  error: null,
  createdAt: at,
  startedAt: at,
  finishedAt: null,
};

export const checkpoint = {
  file: "step-000002718.safetensors",
  sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
  bytes: 3_411_968,
  step: 2718,
  epoch: 3,
  knn: 0.71,
};

export const worker = {
  id: "gpu-1-4711-m8x2k",
  host: "gpu-1",
  pid: 4711,
  machine: "b5f8…",
  version: "0.7.0",
  device: "WASM: no GPU was found",
  webgpu: false,
  threads: 8,
  memory: 33_554_432_000,
  startedAt: at,
  seenAt: at,
  job: id,
};

export const pipeline = {
  name: "temperatures",
  jobs: {
    pretrain: {
      type: "pretrain" as const,
      spec: { dataset: { kind: "fashion-mnist" }, epochs: 10, checkpoint: { keepEvery: 5 } },
    },
    half: { type: "linear-probe" as const, from: "pretrain", spec: { checkpoint: { epoch: 5 } } },
    whole: { type: "linear-probe" as const, from: "pretrain" },
  },
  sweep: { grid: { "pretrain.temperature": [0.1, 0.2] }, seeds: [0, 1, 2] },
};

const params = { "pretrain.temperature": 0.1 };
export const results = [
  {
    job: "whole",
    type: "linear-probe" as const,
    params,
    figures: { top1: { mean: 0.838, std: 0.003, values: [0.835, 0.838, 0.841] } },
    seeds: [0, 1, 2],
    succeeded: 3,
    failed: 0,
    unfinished: 0,
    ids: [id],
  },
];
export const seenPipeline = {
  id: pipelineId,
  name: "temperatures",
  priority: 0,
  metadata: {},
  createdAt: at,
  status: "running" as const,
  finishedAt: null,
  spec: { jobs: pipeline.jobs, sweep: pipeline.sweep },
  counts: { succeeded: 3, running: 1, waiting: 14 },
  jobs: [
    {
      id,
      node: "whole",
      type: "linear-probe" as const,
      params,
      seed: 0,
      status: "succeeded" as const,
      error: null,
    },
  ],
  results,
};

export const plan = {
  device: "wasm",
  why: "WASM: no GPU was found",
  threads: 8,
  images: 58_000,
  disk: 0,
  passes: 1,
  tapes: null,
  memory: {
    state: 8_400_000,
    thread: 41_000_000,
    threads: 8,
    checkpoint: 9_800_000,
    program: 505_000_000,
    images: 54_880_000,
    gpu: 0,
    total: 906_000_000,
  },
  time: { step: 0.021, stepsPerEpoch: 906, watch: 1.9, epoch: 19, total: 420 },
  warnings: [],
  worker: worker.id,
  busy: false,
};

export const search = { text: "a red heart", count: 2 };
export const searched = {
  images: [
    { image: 17, cosine: 0.412, texts: ["red heart", "love"], place: 17 },
    { image: 1204, cosine: 0.397, texts: ["heart with arrow"], place: null },
  ],
};

export const newWebhook = { url: "https://lab.example.org/hooks", events: ["job.failed" as const] };
export const webhook = { id: webhookId, ...newWebhook, createdAt: at };
export const secretWebhook = { ...webhook, secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" };

export const newDataset = { name: "cells" };
export const newImport = { url: "https://data.example.org/cells.zip" };
export const completion = { sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" };
export const uploading = {
  id: datasetId,
  ...newDataset,
  status: "uploading" as const,
  createdAt: at,
  bytes: 2 * PART_BYTES,
  total: null,
  url: null,
  error: null,
  sha256: null,
  partBytes: PART_BYTES,
  received: [1, 2],
  contents: null,
};
export const importing = {
  ...uploading,
  ...newImport,
  status: "importing" as const,
  bytes: 0,
  received: [],
};
export const dataset = {
  ...uploading,
  ...completion,
  status: "ready" as const,
  bytes: 48_120_832,
  received: [],
  contents: {
    train: 5400,
    test: 600,
    classes: 4,
    channels: 3,
    notes: ["no test part: 600 of 6000 images, 10% of each class, are held out as one"],
    error: null,
  },
};

const part = (images: number) => ({
  images,
  classes: { epithelium: images / 2, stroma: images / 2 },
  sizes: { "224x224": images },
  brokenCount: 0,
  broken: [],
  mean: [0.7, 0.54, 0.69],
  std: [0.14, 0.18, 0.13],
});
export const datasetReport = {
  train: { ...part(5400), brokenCount: 1, broken: ["stroma/17.png: pngload_buffer: libspng read error"] },
  test: part(600),
  leftOut: { ".txt": 1 },
  notes: dataset.contents.notes,
};
