/** What a worker and the child that computes for it say to each other over IPC. */
import type { DeviceWish } from "../src/backend/choose.ts";
import type { JobSpecs, JobType, Progress } from "../src/schema/job.ts";
import type { Plan } from "../src/schema/plan.ts";
import type { StopReason } from "../src/train/reporter.ts";

export interface StartMessage {
  kind: "start";
  runId: string;
  type: JobType;
  spec: JobSpecs[JobType];
  /** Of a job on an encoder: the run that pretrained it. */
  source?: { runId: string; spec: JobSpecs["pretrain"] } | undefined;
  storeUrl: string;
  dataDir: string;
  datasetRoots: readonly string[] | undefined;
  threads: number;
  device: DeviceWish;
}

export interface PlanMessage {
  kind: "plan";
  spec: JobSpecs["pretrain"];
  dataDir: string;
  datasetRoots: readonly string[] | undefined;
  threads: number;
  device: DeviceWish;
}

export type ToChild =
  | StartMessage
  | { kind: "stop"; why: StopReason }
  /** The answer to the oldest question that has none yet. */
  | { kind: "permit"; granted: boolean }
  /** What is there to compute on? */
  | { kind: "probe"; device: DeviceWish }
  /** What would such a run take? */
  | PlanMessage;

export type FromChild =
  | { kind: "ready" }
  /** Work goes on. */
  | { kind: "alive" }
  | { kind: "progress"; progress: Progress }
  | { kind: "log"; message: string }
  | { kind: "warnings"; warnings: string[] }
  /** May what is written now be published in the run's name? */
  | { kind: "permit" }
  | { kind: "device"; webgpu: boolean; name: string }
  | { kind: "planned"; plan: Plan }
  | Ending;

export type Ending =
  | { kind: "done"; result: unknown }
  | { kind: "stopped"; why: StopReason }
  | {
      kind: "failed";
      message: string;
      /**
       * final: the user's doing (a bad file, say) or the training's, so trying again is of no use. device: a GPU was lost
       * or had no room, so another device may do. store: away or full. fenced: the job is another worker's. other: may pass.
       */
      cause: "final" | "device" | "store" | "fenced" | "other";
    };
