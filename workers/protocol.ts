/** What a worker and the child that computes for it say to each other over IPC. */
import type { JobSpecs, JobType, Progress } from "../src/spec/job.ts";

export interface StartMessage {
  kind: "start";
  runId: string;
  type: JobType;
  spec: JobSpecs[JobType];
  /** Of a job on an encoder: the run that pretrained it. */
  source?: { runId: string; spec: JobSpecs["pretrain"] } | undefined;
  dataDir: string;
  threads: number;
  device: "auto" | "webgpu" | "wasm";
}

export type ToChild = StartMessage | { kind: "stop"; why: "cancel" | "shutdown" };

export type FromChild =
  | { kind: "ready" }
  | { kind: "progress"; progress: Progress }
  | { kind: "log"; message: string }
  | { kind: "warnings"; warnings: string[] }
  | { kind: "done"; result: unknown }
  | { kind: "stopped"; why: "cancel" | "shutdown" }
  /** `final`: the user's doing (a bad file, say), so trying again is of no use. */
  | {
      kind: "failed";
      message: string;
      final: boolean;
      /** The device was lost, or had no room: another device may do. */
      device?: boolean;
    };
