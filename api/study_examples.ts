/** Examples of studies for the OpenAPI document. A test parses each with its schema. */
import { id, pipelineId, worker } from "./examples.ts";

const at = "2026-11-25T09:00:00.000Z";

export const submission = { name: "key-momentum", scale: "minutes" as const };
export const committed = {
  name: "key-momentum",
  title: "Momentum of the key encoder",
  question: "How slowly has the key encoder to follow?",
  paper: "He et al. 2020 (arXiv 1911.05722), section 4.1",
  scales: [{ scale: "minutes" as const, about: "4,000 images of Fashion-MNIST, ResNet-10", jobs: 30 }],
};
export const run = {
  id: pipelineId,
  study: committed.name,
  title: committed.title,
  scale: "minutes" as const,
  status: "running" as const,
  createdAt: at,
  finishedAt: null,
  counts: { succeeded: 12, running: 1, waiting: 17 },
  plannedMemory: 420_000_000,
  unplanned: null,
};
const seeds = [0, 1, 2];
const cell = (...values: [number, number, number]) => ({ mean: values[1], deviation: 0.5, values, seeds });
export const report = {
  title: committed.title,
  question: committed.question,
  notes: null,
  scale: run.scale,
  about: committed.scales[0]?.about ?? null,
  command: "mocod study run key-momentum --scale minutes",
  paper: { citation: committed.paper, setting: "ResNet-50, ImageNet, linear probe" },
  columns: [{ name: "kNN", of: "knn: top1", unit: "percent" as const, better: "higher" as const }],
  rows: [
    {
      name: "m 0.9",
      point: { "pretrain.momentum": 0.9 },
      planned: false,
      cells: [cell(71.5, 72, 72.5)],
      paper: [55.2],
    },
    {
      name: "m 0.99",
      point: { "pretrain.momentum": 0.99 },
      planned: false,
      cells: [cell(73.5, 74, 74.5)],
      paper: [57.8],
    },
  ],
  claims: [
    {
      better: "m 0.99",
      than: "m 0.9",
      column: "kNN",
      unit: "percent" as const,
      says: null,
      difference: 2,
      interval: [1.2, 2.8] as const,
      differences: [2, 2, 2],
      seeds,
      few: false,
      standing: "agrees" as const,
      paper: 2.6,
    },
  ],
  plots: [],
  seeds,
  failures: [],
  unfinished: 0,
  run: {
    id: pipelineId,
    createdAt: at,
    finishedAt: null,
    hours: 0.3,
    machines: ["8 x AMD EPYC 7763, 34 GB"],
    devices: ["WASM, 8 threads"],
    versions: [worker.version],
    jobs: [{ id, job: "pretrain", seed: 0, status: "succeeded", seconds: 41.2 }],
  },
};
