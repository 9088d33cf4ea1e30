/** The API as the page uses it. */
import type { WorkerInfo } from "../../src/queue/fleet.ts";
import type { Pipeline } from "../../src/queue/pipelines/pipeline.ts";
import type { StudyRun } from "../../src/queue/pipelines/studies.ts";
import type { DatasetReport } from "../../src/schema/dataset.ts";
import type { FoundImage } from "../../src/schema/evaluation.ts";
import type { FieldError, Job, JobType, Progress } from "../../src/schema/job.ts";
import type { ActionName } from "../../src/schema/life.ts";
import type { Chart } from "../../src/schema/methods/method.ts";
import type { Plan } from "../../src/schema/plan.ts";
import type { CheckpointRecord } from "../../src/store/retention.ts";
import type { Step } from "../../src/store/series.ts";
import type { StudyReport } from "../../src/study/types.ts";
import { serverEvents } from "../../src/util/sse.ts";

export type { Pipeline } from "../../src/queue/pipelines/pipeline.ts";
export type { StudyRun } from "../../src/queue/pipelines/studies.ts";

/** Of JSON Schema, what the specs' schemas use. */
export interface Schema {
  type?: string;
  description?: string;
  enum?: string[];
  const?: string;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  items?: Schema;
}

const KEY = "mocod-key";

/** The API asks for a key, or refuses the one it was given. */
export class KeyNeeded extends Error {}

interface Problem {
  title: string;
  status: number;
  errors?: FieldError[];
}

/** What the API says no to, field by field where it is one of a request. */
export class Refused extends Error {
  readonly status: number;
  readonly fields: readonly FieldError[];
  constructor({ title, status, errors = [] }: Problem) {
    super(title);
    this.status = status;
    this.fields = errors;
  }
}

/** Kept for as long as the tab is open. */
export const setKey = (key: string): void => sessionStorage.setItem(KEY, key);

function headers(): Record<string, string> {
  const key = sessionStorage.getItem(KEY);
  return key ? { authorization: `Bearer ${key}` } : {};
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(path, { ...init, headers: { ...headers(), ...init.headers } });
  if (response.status === 401) throw new KeyNeeded();
  if (!response.ok) throw new Refused((await response.json()) as Problem);
  return response;
}
/** Asks again while a worker computes what was asked for. */
async function computed(path: string): Promise<Response> {
  for (;;) {
    const response = await ask(path);
    if (response.status !== 202) return response;
    await new Promise((resolve) => setTimeout(resolve, 1000 * Number(response.headers.get("retry-after") ?? 1)));
  }
}
const post = (body: object): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});
const json = async <T>(path: string, init?: RequestInit): Promise<T> => (await ask(path, init)).json() as Promise<T>;

/** A method of pretraining, and what is drawn of its runs. */
export interface Method {
  name: string;
  paper: string;
  metrics: string[];
  charts: Chart[];
}

export interface Line {
  epoch: number;
  step: number;
  [name: string]: unknown;
}

/** An uploaded dataset. `contents`: null where no worker can tell at once. */
export interface Dataset {
  id: string;
  name: string;
  status: "uploading" | "importing" | "failed" | "ready";
  bytes: number;
  /** Of a file that is imported, where its server has said it. */
  total: number | null;
  error: string | null;
  partBytes: number;
  contents: { train?: number; test?: number | null; classes?: number; notes?: string[]; error?: string | null } | null;
}

/** A committed study. */
export interface CommittedStudy {
  name: string;
  title: string;
  question: string;
  paper: string;
  scales: { scale: string; about: string | null; jobs: number }[];
}

export const service = {
  createDataset: (name: string) => json<Dataset>("/v1/datasets", post({ name })),
  importDataset: (url: string) => json<Dataset>("/v1/datasets", post({ url })),
  dataset: (id: string) => json<Dataset>(`/v1/datasets/${id}`),
  datasetReport: async (id: string) => (await computed(`/v1/datasets/${id}/report`)).json() as Promise<DatasetReport>,
  /** A URL of the sheet, to be revoked. */
  thumbnails: async (id: string): Promise<string> =>
    URL.createObjectURL(await (await computed(`/v1/datasets/${id}/thumbnails`)).blob()),
  removeDataset: (id: string) => ask(`/v1/datasets/${id}`, { method: "DELETE" }),
  putPart: (id: string, part: number, body: Uint8Array<ArrayBuffer>) =>
    ask(`/v1/datasets/${id}/parts/${part}`, {
      method: "PUT",
      headers: { "content-type": "application/octet-stream" },
      body,
    }),
  completeDataset: (id: string) => json<Dataset>(`/v1/datasets/${id}/complete`, post({})),

  jobs: (query: Record<string, string>) =>
    json<{ jobs: Job[]; next: string | null }>(`/v1/jobs?${new URLSearchParams(query)}`),
  job: (id: string) => json<Job>(`/v1/jobs/${id}`),
  act: (id: string, name: ActionName) => json<Job>(`/v1/jobs/${id}/${name}`, { method: "POST" }),
  steps: async (id: string, points: number) =>
    (await json<{ lines: Step[] }>(`/v1/jobs/${id}/steps?points=${points}`)).lines,
  metrics: async (id: string, points: number) =>
    (await json<{ lines: Line[] }>(`/v1/jobs/${id}/metrics?points=${points}`)).lines,
  logs: async (id: string) =>
    (await json<{ lines: { at: string; event: string; message: string }[] }>(`/v1/jobs/${id}/logs`)).lines,
  checkpoints: async (id: string) =>
    (await json<{ checkpoints: CheckpointRecord[] }>(`/v1/jobs/${id}/checkpoints`)).checkpoints,
  workers: async () => (await json<{ workers: WorkerInfo[] }>("/v1/workers")).workers,

  submit: (body: object) => json<Job>("/v1/jobs", post(body)),
  fork: (id: string, body: object) => json<Job>(`/v1/jobs/${id}/fork`, post(body)),
  plan: (spec: object) => json<Plan & { busy: boolean }>("/v1/plan", post({ spec })),
  schema: (type: JobType) => json<Schema>(`/v1/specs/${type}`),
  methods: () => json<{ methods: Method[]; default: string }>("/v1/methods"),
  presets: () => json<Record<string, Record<string, object>>>("/v1/presets"),
  pipelines: (after?: string) =>
    json<{ pipelines: Pipeline[]; next: string | null }>(`/v1/pipelines${after ? `?after=${after}` : ""}`),
  pipeline: (id: string) => json<Pipeline>(`/v1/pipelines/${id}`),
  actOnPipeline: (id: string, name: ActionName) => json<Pipeline>(`/v1/pipelines/${id}/${name}`, { method: "POST" }),
  studies: (after?: string) =>
    json<{ studies: CommittedStudy[]; runs: StudyRun[]; next: string | null }>(
      `/v1/studies${after ? `?after=${after}` : ""}`,
    ),
  study: (id: string) => json<StudyRun>(`/v1/studies/${id}`),
  studyReport: (id: string) => json<StudyReport>(`/v1/studies/${id}/report`),
  runStudy: (name: string, scale: string) => json<StudyRun>("/v1/studies", post({ name, scale })),
  /** Images of a retrieval job that are nearest to a sentence. */
  search: async (id: string, text: string, count: number) =>
    (await json<{ images: FoundImage[] }>(`/v1/jobs/${id}/search`, post({ text, count }))).images,
  file: <T>(id: string, name: string) => json<T>(`/v1/jobs/${id}/files/${name}`),
  /** A URL of the bytes, to be revoked: an element that loads by itself could not show the key. */
  picture: async (id: string, name: string): Promise<string> =>
    URL.createObjectURL(await (await ask(`/v1/jobs/${id}/files/${name}`)).blob()),

  /** A file of a run, for the person's own disk: a link could not show the key. */
  download: (id: string, name: string): Promise<void> =>
    service.save(`/v1/jobs/${id}/files/${name}`, `${id}-${name.slice(name.lastIndexOf("/") + 1)}`),

  save: async (path: string, name: string): Promise<void> => {
    const url = URL.createObjectURL(await (await ask(path)).blob());
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
    URL.revokeObjectURL(url);
  },
};

export type Heard = { type: "progress"; data: Progress } | { type: "status" | "log" | "warnings"; data: unknown };

/** Events of a job until it is over, or until `signal`: a connection that breaks is made again behind the last event. */
export async function listen(id: string, heard: (event: Heard) => void, signal: AbortSignal): Promise<void> {
  let last = "0";
  while (!signal.aborted) {
    try {
      const response = await ask(`/v1/jobs/${id}/events`, { headers: { "last-event-id": last }, signal });
      for await (const { id: at, type, data } of serverEvents(response.body as ReadableStream<Uint8Array>)) {
        last = at ?? last;
        if (type && data) heard({ type, data: JSON.parse(data) } as Heard);
      }
      // An API that is stopped ends its streams in good order, too.
      if ((await service.job(id)).finishedAt !== null) return;
    } catch (error) {
      if (signal.aborted || error instanceof KeyNeeded) return;
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}
