/** What the main thread asks of the others. Arrays are in shared memory, so a message carries none of their bytes. */
import type { Look } from "../../data/view.ts";
import type { PretrainSpec } from "../../schema/pretrain.ts";
import type { StepBuffers, TrainState } from "../state.ts";

export interface ShardInit {
  spec: PretrainSpec;
  state: TrainState;
  buffers: StepBuffers;
  slots: number;
  channels: number;
  mean: readonly number[];
  std: readonly number[];
  thread: number;
  threads: number;
}

/** `pixels`: what `buffers.places` point into. */
export interface BatchTask {
  epoch: number;
  pixels: Uint8Array;
}

export interface EmbedTask {
  kind: "embed";
  /** pixels: the views themselves, as a baseline. */
  what: Features;
  /** Side of a view in pixels. */
  size: number;
  look: Look;
  pixels: Uint8Array;
  /** f64[n, PLACE] and i32[n] of the images. */
  places: Float64Array;
  indices: Int32Array;
  /** f32[n, dimension of `what`] */
  out: Float32Array;
}

export type Features = "backbone" | "projection" | "pixels";

export type Task =
  | { kind: "momentum" }
  | ({ kind: "keys" } & BatchTask)
  | ({ kind: "queries"; from: number; to: number } & BatchTask)
  | ({ kind: "classify"; from: number; to: number } & BatchTask)
  | { kind: "reduce"; from: number; to: number }
  /** `scale`: factor of the rate for each tensor, in the layout's order; undefined: 1 for all. */
  | { kind: "update"; lr: number; step: number; scale?: readonly number[] }
  | EmbedTask
  /** Tensors that there are, and bytes of the heap. */
  | { kind: "memory" }
  /** Switches the profile on, or gives what was measured since: milliseconds by kernel. */
  | { kind: "profile" }
  /** Starts a record of the heap, or gives what was recorded since (backend/heap.ts). */
  | { kind: "heap" };

export type Answer = number | Record<string, number> | number[] | undefined;
