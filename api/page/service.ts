/** The API as the page uses it. */
import type { WorkerInfo } from "../../src/queue/fleet.ts";
import type { Job, Progress } from "../../src/spec/job.ts";
import type { ActionName } from "../../src/spec/life.ts";
import type { CheckpointRecord } from "../../src/store/retention.ts";
import type { Step } from "../../src/store/series.ts";
import { serverEvents } from "../../src/util/sse.ts";

const KEY = "mocod-key";

/** The API asks for a key, or refuses the one it was given. */
export class KeyNeeded extends Error {}

/** Kept for as long as the tab is open. */
export const setKey = (key: string): void => sessionStorage.setItem(KEY, key);

function headers(): Record<string, string> {
  const key = sessionStorage.getItem(KEY);
  return key ? { authorization: `Bearer ${key}` } : {};
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(path, { ...init, headers: { ...headers(), ...init.headers } });
  if (response.status === 401) throw new KeyNeeded();
  if (!response.ok) throw new Error(((await response.json()) as { title: string }).title);
  return response;
}
const json = async <T>(path: string, init?: RequestInit): Promise<T> => (await ask(path, init)).json() as Promise<T>;

export interface Line {
  epoch: number;
  step: number;
  [name: string]: unknown;
}

export const service = {
  jobs: (query: Record<string, string>) =>
    json<{ jobs: Job[]; next: string | null }>(`/v1/jobs?${new URLSearchParams(query)}`),
  job: (id: string) => json<Job>(`/v1/jobs/${id}`),
  act: (id: string, name: ActionName) => json<Job>(`/v1/jobs/${id}/${name}`, { method: "POST" }),
  steps: async (id: string, points: number) =>
    (await json<{ lines: Step[] }>(`/v1/jobs/${id}/steps?points=${points}`)).lines,
  metrics: async (id: string) => (await json<{ lines: Line[] }>(`/v1/jobs/${id}/metrics`)).lines,
  logs: async (id: string) =>
    (await json<{ lines: { at: string; event: string; message: string }[] }>(`/v1/jobs/${id}/logs`)).lines,
  checkpoints: async (id: string) =>
    (await json<{ checkpoints: CheckpointRecord[] }>(`/v1/jobs/${id}/checkpoints`)).checkpoints,
  workers: async () => (await json<{ workers: WorkerInfo[] }>("/v1/workers")).workers,

  /** A file of a run, for the person's own disk: a link could not show the key. */
  download: async (id: string, name: string): Promise<void> => {
    const url = URL.createObjectURL(await (await ask(`/v1/jobs/${id}/files/${name}`)).blob());
    const link = document.createElement("a");
    link.href = url;
    link.download = `${id}-${name.slice(name.lastIndexOf("/") + 1)}`;
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
