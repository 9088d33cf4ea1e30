/** What computes a run: threads of WASM, or one WebGPU device. Both do the same to the same state. */

import type { DeviceWish } from "../backend/choose.ts";
import type { StepMetrics } from "./state.ts";
import type { EmbedTask } from "./threads/tasks.ts";

/** One step. What it is of lies in the model's buffers: images and their places, the order of keys, classes. */
export interface StepTask {
  /** Steps done before it. */
  readonly step: number;
  readonly epoch: number;
  /** What the places point into. */
  readonly pixels: Uint8Array;
  readonly lr: number;
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
  /** Trains MoCo on the batch in the buffers. Gives the metrics of steps as they become known, in order, each once. */
  train(task: StepTask & { queuePointer: number }): Promise<StepMetrics[]>;
  /** Trains a classifier on the batch. `scale`: factor of the rate for each tensor, in the layout's order. */
  classify(task: StepTask & { scale: readonly number[] }): Promise<StepMetrics[]>;
  /** The keys of the batch as the key encoder is now, to the model's buffers; nothing is trained. */
  encodeKeys(task: Omit<StepTask, "lr">): Promise<void>;
  embed(task: EmbedTask): Promise<void>;
  close(): void;
}
