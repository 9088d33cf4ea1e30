/** A client of the REST API. */
import type { WorkerInfo } from "../src/queue/fleet.ts";
import type { Pipeline } from "../src/queue/pipelines/pipeline.ts";
import type { StudyRun } from "../src/queue/pipelines/studies.ts";
import type { DatasetReport, Sighting } from "../src/schema/dataset.ts";
import type { FoundImage } from "../src/schema/evaluation.ts";
import type { Job, JobType, Progress } from "../src/schema/job.ts";
import type { ActionName } from "../src/schema/life.ts";
import type { CheckpointRecord } from "../src/store/retention.ts";
import type { StoredDataset } from "../src/store/uploads.ts";
import { UserError } from "../src/util/errors.ts";
import { serverEvents } from "../src/util/sse.ts";

interface Problem {
  title: string;
  errors?: { field: string; got: unknown; allowed: string }[];
}

/** A committed study, as lists show it. */
export interface CommittedStudy {
  readonly name: string;
  readonly title: string;
  readonly question: string;
  readonly paper: string;
  readonly scales: readonly { readonly scale: string; readonly about: string | null; readonly jobs: number }[];
}

/** The API has refused the request: a retry is useless. */
export class RefusedError extends UserError {}

/** An uploaded dataset, as the API shows it. */
export interface UploadedDataset extends Omit<StoredDataset, "parts" | "source" | "error"> {
  /** Bytes of a file that is imported, where its server has said them. */
  readonly total: number | null;
  /** Where it was imported from; null: it was uploaded. */
  readonly url: string | null;
  /** Why its import has failed. */
  readonly error: string | null;
  readonly partBytes: number;
  /** Numbers of the parts that have arrived, while it is uploaded. */
  readonly received: readonly number[];
  /** What a worker found in it; null: none could tell at once. */
  readonly contents: (Partial<Sighting> & { readonly error?: string | null }) | null;
}

/** Longest outage of the API that `follow` waits for. */
const OUTAGE_MS = 60_000;

/** Bun gives up after five minutes otherwise, and the plans of a study may take longer. */
const PATIENT = { timeout: false } as RequestInit;

/** Sends a request; throws UserError where there is no API at the address. */
async function reach(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, { ...PATIENT, ...init });
  } catch (error) {
    const { origin } = new URL(url);
    throw new UserError(`no API at ${origin}: start one with \`mocod serve\`, or set MOCOD_HOST and MOCOD_PORT`, {
      cause: error,
    });
  }
}

export class Client {
  constructor(
    readonly url: string,
    private readonly apiKey?: string,
  ) {}

  private get authorization(): Record<string, string> {
    return this.apiKey === undefined ? {} : { authorization: `Bearer ${this.apiKey}` };
  }

  async submit(
    type: JobType,
    spec: unknown,
    name?: string,
    priority?: number,
    metadata?: Record<string, string>,
  ): Promise<Job> {
    const more = { ...(name && { name }), ...(priority !== undefined && { priority }), ...(metadata && { metadata }) };
    return this.call<Job>("POST", "/v1/jobs", { type, spec, ...more });
  }

  submitPipeline(pipeline: object): Promise<Pipeline> {
    return this.call<Pipeline>("POST", "/v1/pipelines", pipeline);
  }

  studies(): Promise<{ studies: CommittedStudy[]; runs: StudyRun[]; next: string | null }> {
    return this.call("GET", "/v1/studies");
  }

  runStudy(study: { name?: string; spec?: object; scale?: string; set?: object }): Promise<StudyRun> {
    return this.call<StudyRun>("POST", "/v1/studies", study);
  }

  /** The report of a run of a study, as text in the format. */
  async studyReport(id: string, format: "html" | "md" | "json"): Promise<string> {
    return (await this.request("GET", `/v1/studies/${id}/report?format=${format}`)).text();
  }

  createDataset(name: string): Promise<UploadedDataset> {
    return this.call("POST", "/v1/datasets", { name });
  }

  importDataset(from: { url: string; name?: string; sha256?: string }): Promise<UploadedDataset> {
    return this.call("POST", "/v1/datasets", from);
  }

  async putPart(id: string, part: number, bytes: Uint8Array): Promise<void> {
    const response = await reach(`${this.url}/v1/datasets/${id}/parts/${part}`, {
      method: "PUT",
      headers: { ...this.authorization, "content-type": "application/octet-stream" },
      body: bytes as never,
    });
    if (!response.ok) await this.refuse(response);
  }

  completeDataset(id: string, sha256: string): Promise<UploadedDataset> {
    return this.call("POST", `/v1/datasets/${id}/complete`, { sha256 });
  }

  dataset(id: string): Promise<UploadedDataset> {
    return this.call("GET", `/v1/datasets/${id}`);
  }

  async datasets(): Promise<UploadedDataset[]> {
    return (await this.call<{ datasets: UploadedDataset[] }>("GET", "/v1/datasets")).datasets;
  }

  /** What is in a dataset, image by image; waits while a worker computes it. */
  async datasetReport(id: string): Promise<DatasetReport> {
    for (;;) {
      const response = await this.request("GET", `/v1/datasets/${id}/report`);
      if (response.status !== 202) return (await response.json()) as DatasetReport;
      await Bun.sleep(1000 * Number(response.headers.get("retry-after") ?? 1));
    }
  }

  removeDataset(id: string): Promise<void> {
    return this.call("DELETE", `/v1/datasets/${id}`);
  }

  pipeline(id: string): Promise<Pipeline> {
    return this.call<Pipeline>("GET", `/v1/pipelines/${id}`);
  }

  job(id: string): Promise<Job> {
    return this.call<Job>("GET", `/v1/jobs/${id}`);
  }

  list(query: Record<string, string>): Promise<{ jobs: Job[]; next: string | null }> {
    return this.call("GET", `/v1/jobs?${new URLSearchParams(query)}`);
  }

  async logs(id: string): Promise<{ at: string; event: string; message: string }[]> {
    return (await this.call<{ lines: { at: string; event: string; message: string }[] }>("GET", `/v1/jobs/${id}/logs`))
      .lines;
  }

  async files(id: string): Promise<string[]> {
    return (await this.call<{ files: string[] }>("GET", `/v1/jobs/${id}/files`)).files;
  }

  /**
   * Requests a file of a run.
   *
   * @returns The response, whose body is streamed.
   * @throws UserError where there is no such file.
   */
  async download(id: string, name: string): Promise<Response> {
    const response = await reach(`${this.url}/v1/jobs/${id}/files/${name}`, { headers: this.authorization });
    return response.ok ? response : this.refuse(response);
  }

  /** The images of a retrieval job that are nearest to a sentence. */
  async search(id: string, text: string, count: number): Promise<FoundImage[]> {
    return (await this.call<{ images: FoundImage[] }>("POST", `/v1/jobs/${id}/search`, { text, count })).images;
  }

  async remove(id: string): Promise<void> {
    await this.call("DELETE", `/v1/jobs/${id}`);
  }

  act(id: string, name: ActionName): Promise<Job> {
    return this.call<Job>("POST", `/v1/jobs/${id}/${name}`);
  }

  cancel(id: string): Promise<Job> {
    return this.act(id, "cancel");
  }

  extend(id: string, epochs: number): Promise<Job> {
    return this.call<Job>("POST", `/v1/jobs/${id}/extend`, { epochs });
  }

  fork(id: string, body: { step?: number; keep?: "state" | "weights"; spec?: object; name?: string }): Promise<Job> {
    return this.call<Job>("POST", `/v1/jobs/${id}/fork`, body);
  }

  async checkpoints(id: string): Promise<CheckpointRecord[]> {
    return (await this.call<{ checkpoints: CheckpointRecord[] }>("GET", `/v1/jobs/${id}/checkpoints`)).checkpoints;
  }

  async workers(): Promise<WorkerInfo[]> {
    return (await this.call<{ workers: WorkerInfo[] }>("GET", "/v1/workers")).workers;
  }

  /**
   * Follows a job to its end by SSE, and reconnects where the connection breaks.
   *
   * @returns The finished job.
   * @throws UserError where the API refuses, or is unreachable for a minute.
   */
  async follow(
    id: string,
    onProgress: (progress: Progress) => void,
    onLog: (text: string) => void = () => undefined,
  ): Promise<Job> {
    let last = "0";
    let lost: number | undefined;
    for (;;) {
      try {
        const response = await reach(`${this.url}/v1/jobs/${id}/events`, {
          headers: { "last-event-id": last, ...this.authorization },
        });
        if (!response.ok) await this.refuse(response);
        lost = undefined;
        for await (const { id: at, type, data } of serverEvents(response.body as ReadableStream<Uint8Array>)) {
          last = at ?? last;
          if (data && type === "progress") onProgress(JSON.parse(data) as Progress);
          if (data && type === "log") onLog(JSON.parse(data) as string);
        }
        const job = await this.job(id);
        if (job.finishedAt) return job;
      } catch (error) {
        // An API that restarts is reachable again soon; a job that does not exist stays missing.
        lost ??= performance.now();
        if (error instanceof RefusedError || performance.now() - lost > OUTAGE_MS) throw error;
        await Bun.sleep(500);
      }
    }
  }

  private async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await this.request(method, path, body);
    return response.status === 204 ? (undefined as T) : ((await response.json()) as T);
  }

  private async request(method: string, path: string, body?: unknown): Promise<Response> {
    const response = await reach(this.url + path, {
      method,
      headers: { ...this.authorization, ...(body !== undefined && { "content-type": "application/json" }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    return response.ok ? response : this.refuse(response);
  }

  /** Throws the problem in a response. */
  private async refuse(response: Response): Promise<never> {
    const answer = (await response.json()) as Problem;
    const details = (answer.errors ?? []).map(
      (e) => `\n  ${e.field}: got ${JSON.stringify(e.got)}, allowed: ${e.allowed}`,
    );
    const Refusal = response.status < 500 ? RefusedError : UserError;
    throw new Refusal(`${answer.title}${details.join("")}`);
  }
}
