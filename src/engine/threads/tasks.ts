/** What the main thread asks of the others. Arrays are in shared memory, so a message carries none of their bytes. */
import type { ValueBytes } from "../../data/types.ts";
import type { Look } from "../../data/view.ts";
import type { TrainSpec } from "../../schema/pretrain.ts";
import type { StepBuffers, TrainState } from "../state.ts";

export interface ShardInit {
  spec: TrainSpec;
  state: TrainState;
  buffers: StepBuffers;
  slots: number;
  channels: number;
  valueBytes: ValueBytes;
  mean: readonly number[];
  std: readonly number[];
  thread: number;
  threads: number;
  /** Threads that may compute at the same time where they meet inside layers; the others wait for their turn. */
  atOnce: number;
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
  /** Of a ViT: so many of its last blocks give the backbone's features, side by side. */
  blocks: number;
  /** Side of a view in pixels. */
  size: number;
  look: Look;
  pixels: Uint8Array;
  /** f64[n, PLACE] and i32[n] of the images. */
  places: Float64Array;
  indices: Int32Array;
  /** f32[n, dimension of `what`, of the backbone times `blocks`] */
  out: Float32Array;
}

/** Features of texts by the trained text tower. */
export interface EmbedTextsTask {
  kind: "embed texts";
  /** i32[n, context] and i32[n] */
  tokens: Int32Array;
  lengths: Int32Array;
  /** f32[n, dim] */
  out: Float32Array;
}

export type Features = "backbone" | "projection" | "pixels";

export type Task =
  /** Moves the average `network` by momentum `m`. */
  | { kind: "follow"; network: string; m: number }
  | ({ kind: "targets" } & BatchTask)
  /** `keep`: tapes are kept for `learn`, else each unit is computed once more there. */
  | ({ kind: "rows"; keep: boolean } & BatchTask)
  | { kind: "couple" }
  | ({ kind: "learn"; from: number; to: number } & BatchTask)
  | { kind: "reduce"; from: number; to: number }
  /** Sums of squares of each tensor's gradient, for its clipping. */
  | { kind: "squares" }
  /** The method's own state becomes what it is after this step. */
  | { kind: "advance" }
  /** `scale`: factor of the rate for each parameter, in the layout's order; undefined: 1 for all. */
  | { kind: "update"; lr: number; weightDecay: number; step: number; scale?: readonly number[] | undefined }
  | EmbedTask
  | EmbedTextsTask
  /** Tensors that there are, and bytes of the heap. */
  | { kind: "memory" }
  /** Switches the profile on, or gives what was measured since: milliseconds by kernel. */
  | { kind: "profile" }
  /** Starts a record of the heap, or gives what was recorded since (backend/heap.ts). */
  | { kind: "heap" };

export type Answer = number | Record<string, number> | number[] | undefined;
