/** What computes a run: threads of WASM, or one WebGPU device. Both do the same to the same state. */
import type { DeviceWish } from "../backend/choose.ts";
import type { StepMetrics } from "./metrics.ts";
import type { EmbedTask, EmbedTextsTask } from "./threads/tasks.ts";

/** One step. What it is of lies in the model's buffers: images and their places, the order of targets, classes. */
export interface StepTask {
  /** Steps done before it. */
  readonly step: number;
  readonly epoch: number;
  /** What the places point into. */
  readonly pixels: Uint8Array;
  readonly lr: number;
  readonly weightDecay: number;
  /** Factor of the rate for each parameter, in the layout's order; undefined: 1 for all. */
  readonly scale: readonly number[] | undefined;
  /** Momentum of each network that follows. */
  readonly averages: Readonly<Record<string, number>>;
  /** Place of the oldest row of each ring. */
  readonly pointers: Readonly<Record<string, number>>;
}

/** What to compute with. */
export interface Computing {
  /** Of WASM. */
  readonly threads: number;
  /** What this process may use; the spec may ask for less. */
  readonly device: DeviceWish;
}

export interface Engine {
  /** As results name it. */
  readonly device: string;
  readonly threads: number;
  /** Passes in which the batch goes through the encoders: of a GPU. Part of the order of sums, so it is saved with a run. */
  passes?: number;
  /** To be called when the model's state was written from outside. */
  load(): void;
  /** The model's state and gradient are up to date when this resolves; gives the metrics that were not given yet. */
  settle(): Promise<StepMetrics[]>;
  /** Trains on the batch in the buffers. Gives the metrics of steps as they become known, in order, each once. */
  train(task: StepTask): Promise<StepMetrics[]>;
  /** The targets of the batch as their network is now, to the model's buffers; nothing is trained. */
  encodeTargets(task: Pick<StepTask, "epoch" | "pixels">): Promise<void>;
  embed(task: EmbedTask): Promise<void>;
  embedTexts(task: EmbedTextsTask): Promise<void>;
  close(): void;
}
