/** Messages between a worker and its child, over IPC. */
import type { DeviceWish } from "../src/backend/choose.ts";
import type { Inspection } from "../src/queue/inspections.ts";
import type { Search } from "../src/queue/searches.ts";
import type { DatasetSpec, Sighting } from "../src/schema/dataset.ts";
import type { FoundImage } from "../src/schema/evaluation.ts";
import type { JobSpecs, JobType, Progress } from "../src/schema/job.ts";
import type { MemoryPlan, Plan } from "../src/schema/plan.ts";
import type { StopReason } from "../src/train/reporter.ts";
import type { Env } from "../src/util/env.ts";

/** Where a child finds datasets, and the store. */
export type DataPlaces = Pick<Env, "storeUrl" | "dataDir" | "datasetRoots" | "cacheLimit">;

export interface StartMessage {
  kind: "start";
  runId: string;
  type: JobType;
  spec: JobSpecs[JobType];
  /** For a job on an encoder: the run that pretrained it. */
  source?: { runId: string; spec: JobSpecs["pretrain"] } | undefined;
  where: DataPlaces;
  threads: number;
  device: DeviceWish;
}

export interface PlanMessage {
  kind: "plan";
  spec: JobSpecs["pretrain"];
  /** Of a run that is not tried; unset: of one that is to fit. */
  only?: "memory" | undefined;
  where: DataPlaces;
  threads: number;
  device: DeviceWish;
}

export interface SightMessage {
  kind: "sight";
  dataset: DatasetSpec;
  where: DataPlaces;
}

export interface InspectMessage {
  kind: "inspect";
  inspection: Inspection;
  where: DataPlaces;
}

export interface SearchMessage {
  kind: "search";
  search: Search;
  where: DataPlaces;
}

export type ToChild =
  | StartMessage
  | { kind: "stop"; why: StopReason }
  /** Answers the oldest open request for permission. */
  | { kind: "permit"; granted: boolean }
  /** Asks for the device that would be chosen. */
  | { kind: "probe"; device: DeviceWish }
  /** Asks what a run will need. */
  | PlanMessage
  /** Asks what is in a dataset. */
  | SightMessage
  /** Asks for a report or thumbnails of a dataset, to be kept in the store. */
  | InspectMessage
  /** Asks for the images that are nearest to a sentence. */
  | SearchMessage;

export type FromChild =
  | { kind: "ready" }
  /** Work is progressing. */
  | { kind: "alive" }
  | { kind: "progress"; progress: Progress }
  | { kind: "log"; message: string }
  | { kind: "warnings"; warnings: string[] }
  /** Asks for permission to publish in the name of the run. */
  | { kind: "permit" }
  | { kind: "device"; webgpu: boolean; name: string }
  | { kind: "planned"; plan: Plan }
  | { kind: "planned memory"; plan: MemoryPlan }
  | { kind: "sighted"; sighting: Sighting | null }
  | { kind: "inspected" }
  | { kind: "found"; images: FoundImage[] }
  | Ending;

export type Ending =
  | { kind: "done"; result: unknown }
  | { kind: "stopped"; why: StopReason }
  | {
      kind: "failed";
      message: string;
      /**
       * final: caused by the spec, its data or a diverging loss; a retry cannot help. device: a GPU was lost or out of
       * memory; another device may work. store: unreachable or full. fenced: another worker has the job. other:
       * transient.
       */
      cause: "final" | "device" | "store" | "fenced" | "other";
    };
