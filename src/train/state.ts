/**
 * Everything a run is, in shared memory: the train state (what a checkpoint saves) and the scratch of one step.
 * Threads read and write disjoint parts of it between barriers, so no locks are needed.
 */
import { initQueue } from "../methods/moco.ts";
import { buildEncoder, type Encoder } from "../nn/resnet.ts";
import type { PretrainSpec } from "../spec/pretrain.ts";

/** f32[...] of each, in shared memory. */
export interface TrainState {
  readonly queryParams: Float32Array;
  readonly keyParams: Float32Array;
  readonly queryStats: Float32Array;
  readonly keyStats: Float32Array;
  readonly velocity: Float32Array;
  /** [K, C] */
  readonly queue: Float32Array;
}

/** Where a run stands. Saved beside the state. */
export interface Position {
  /** Steps done. */
  step: number;
  queuePointer: number;
  /** Sums over the steps of the epoch so far, so that a resumed epoch reports the same mean. */
  epochLoss: number;
  epochTop1: number;
}

export interface StepBuffers {
  /** Dataset indices of the batch, i32[N]. */
  readonly batch: Int32Array;
  /** Order in which keys are dealt to splits, i32[N]. */
  readonly shuffle: Int32Array;
  /** Keys of this step by batch position, f32[N, C]. */
  readonly keys: Float32Array;
  /** Gradient of each split in flight, f32[slots, P]; summed into `gradient` in the order of splits. */
  readonly splitGradients: Float32Array;
  readonly gradient: Float32Array;
  /** Batch statistics (mean, unbiased variance) of each split, f32[splits, B], for query and key encoder. */
  readonly queryBatchStats: Float32Array;
  readonly keyBatchStats: Float32Array;
  /** Loss and (K+1)-way top-1 of each split, f64[splits, 2]. */
  readonly metrics: Float64Array;
  /** Next split to take. */
  readonly counter: Int32Array;
}

const floats = (n: number) => new Float32Array(new SharedArrayBuffer(n * 4));
const ints = (n: number) => new Int32Array(new SharedArrayBuffer(n * 4));

/** Splits whose gradients are held at once: all of them if that takes less than 512 MB, else one a thread. */
function gradientSlots(params: number, splits: number, threads: number): number {
  const fitting = Math.floor((512 * 2 ** 20) / (params * 4));
  return Math.max(1, Math.min(splits, Math.max(threads, fitting)));
}

export interface Model {
  readonly encoder: Encoder;
  readonly state: TrainState;
  readonly buffers: StepBuffers;
  readonly slots: number;
}

export function encoderOf(spec: PretrainSpec, channels: number): Encoder {
  return buildEncoder(spec.encoder, channels, spec.head, spec.dim);
}

/** A fresh state: query encoder by its seed, key encoder its copy, queue of random unit vectors. */
export function createModel(spec: PretrainSpec, channels: number, threads: number): Model {
  const encoder = encoderOf(spec, channels);
  const p = encoder.params.size;
  const b = encoder.stats.size;
  const slots = gradientSlots(p, spec.splits, threads);
  const state: TrainState = {
    queryParams: floats(p),
    keyParams: floats(p),
    queryStats: floats(b),
    keyStats: floats(b),
    velocity: floats(p),
    queue: floats(spec.queueSize * spec.dim),
  };
  encoder.params.initialise(state.queryParams, spec.seed);
  encoder.stats.initialise(state.queryStats, spec.seed);
  state.keyParams.set(state.queryParams);
  state.keyStats.set(state.queryStats);
  initQueue(state.queue, spec.dim, spec.seed);
  const buffers: StepBuffers = {
    batch: ints(spec.batchSize),
    shuffle: ints(spec.batchSize),
    keys: floats(spec.batchSize * spec.dim),
    splitGradients: floats(slots * p),
    gradient: floats(p),
    queryBatchStats: floats(spec.splits * b),
    keyBatchStats: floats(spec.splits * b),
    metrics: new Float64Array(new SharedArrayBuffer(spec.splits * 16)),
    counter: ints(1),
  };
  return { encoder, state, buffers, slots };
}

export const startPosition: Position = { step: 0, queuePointer: 0, epochLoss: 0, epochTop1: 0 };
