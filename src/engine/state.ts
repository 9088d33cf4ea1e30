/**
 * Everything a run is, in shared memory: the train state (what a checkpoint saves) and the scratch of one step.
 * Threads read and write disjoint parts of it between barriers, so no locks are needed.
 */
import { PLACE } from "../data/source.ts";
import { initQueue } from "../methods/moco.ts";
import { buildEncoder, type Encoder } from "../nn/encoders/resnet.ts";
import { optimisers } from "../optim/optimiser.ts";
import { keysPerStep, type PretrainSpec } from "../schema/pretrain.ts";

/** f32[...] of each, in shared memory. */
export interface TrainState {
  readonly queryParams: Float32Array;
  readonly keyParams: Float32Array;
  readonly queryStats: Float32Array;
  readonly keyStats: Float32Array;
  /** The optimiser's first moment (SGD's velocity) and second one (empty unless it is AdamW). */
  readonly velocity: Float32Array;
  readonly second: Float32Array;
  /** [K, C] */
  readonly queue: Float32Array;
  /** Which image each key is of, i32[K]; -1 for the random vectors at first. */
  readonly queueIds: Int32Array;
}

/** Means over an epoch are sums over its steps so far, so that a resumed epoch reports the same. */
export interface StepMetrics {
  loss: number;
  /** (K+1)-way accuracy. */
  top1: number;
  /** Mean cosine of a query with its key, and with the keys in the queue. */
  positive: number;
  negative: number;
}

/** Where a run stands. Saved beside the state. */
export interface Position {
  /** Steps done. */
  step: number;
  queuePointer: number;
  sums: StepMetrics;
  /** kNN accuracy of the encoder before the first step; null where it was not measured. */
  untrainedKnn: number | null;
  /** Metrics of each step of the epoch so far: loss, top-1, positive, negative. */
  series: [number, number, number, number][];
  /** See `Engine`. */
  passes?: number;
}

/** f64 a unit: loss, top-1, positive, negative. */
export const METRICS = 4;

/**
 * A unit is one split in one direction: `splits` of them, twice as many with the symmetric loss. Unit u is split
 * u mod S of direction floor(u / S); direction d takes its queries from view d and its keys from the other one.
 */
export interface StepBuffers {
  /** Dataset indices of the batch, i32[N]. */
  readonly batch: Int32Array;
  /** Where their pixels are, f64[N, PLACE]. */
  readonly places: Float64Array;
  /** Classes of the batch, i32[N]: of supervised training only. */
  readonly labels: Int32Array;
  /** Order in which keys are dealt to splits, i32[directions, N]. */
  readonly shuffle: Int32Array;
  /** Keys of this step by direction and batch position, f32[directions, N, C]. */
  readonly keys: Float32Array;
  /** Gradient of each unit in flight, f32[slots, P]; summed into `gradient` in the order of units. */
  readonly splitGradients: Float32Array;
  readonly gradient: Float32Array;
  /** Batch statistics (mean, unbiased variance) of each unit, f32[units, B], for query and key encoder. */
  readonly queryBatchStats: Float32Array;
  readonly keyBatchStats: Float32Array;
  readonly metrics: Float64Array;
  /** Next unit to take. */
  readonly counter: Int32Array;
}

const floats = (n: number) => new Float32Array(new SharedArrayBuffer(n * 4));
const doubles = (n: number) => new Float64Array(new SharedArrayBuffer(n * 8));
const ints = (n: number) => new Int32Array(new SharedArrayBuffer(n * 4));

/**
 * Units whose gradients are held at once: all of them if that takes less than 128 MB, else as many as fit, a whole number
 * of rounds of the threads and at least one. Threads meet once a round.
 */
export function gradientSlots(params: number, units: number, threads: number): number {
  const fitting = Math.floor((128 * 2 ** 20) / (params * 4));
  if (fitting >= units) return units;
  return Math.min(units, threads * Math.max(1, Math.floor(fitting / threads)));
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

export const directionsOf = (spec: PretrainSpec): number => (spec.symmetric ? 2 : 1);
export const unitsOf = (spec: PretrainSpec): number => directionsOf(spec) * spec.splits;

/** A fresh state: query encoder by its seed, key encoder its copy, queue of random unit vectors. */
export function createModel(spec: PretrainSpec, channels: number, threads: number): Model {
  const model = allocateModel(spec, channels, threads);
  const { encoder, state } = model;
  encoder.params.initialise(state.queryParams, spec.seed);
  encoder.stats.initialise(state.queryStats, spec.seed);
  state.keyParams.set(state.queryParams);
  state.keyStats.set(state.queryStats);
  initQueue(state.queue, spec.dim, spec.seed);
  return model;
}

/** All zeros, to be filled from a file. */
export function allocateModel(spec: PretrainSpec, channels: number, threads: number): Model {
  const encoder = encoderOf(spec, channels);
  const p = encoder.params.size;
  const b = encoder.stats.size;
  const units = unitsOf(spec);
  const slots = gradientSlots(p, units, threads);
  const state: TrainState = {
    queryParams: floats(p),
    keyParams: floats(p),
    queryStats: floats(b),
    keyStats: floats(b),
    velocity: floats(p),
    second: floats(optimisers[spec.optimizer.algorithm].second ? p : 0),
    queue: floats(spec.queueSize * spec.dim),
    queueIds: ints(spec.queueSize).fill(-1),
  };
  const buffers: StepBuffers = {
    batch: ints(spec.batchSize),
    places: doubles(spec.batchSize * PLACE),
    labels: ints(spec.batchSize),
    shuffle: ints(directionsOf(spec) * spec.batchSize),
    keys: floats(keysPerStep(spec) * spec.dim),
    splitGradients: floats(slots * p),
    gradient: floats(p),
    queryBatchStats: floats(units * b),
    keyBatchStats: floats(units * b),
    metrics: doubles(units * METRICS),
    counter: ints(1),
  };
  return { encoder, state, buffers, slots };
}

const noSums = (): StepMetrics => ({ loss: 0, top1: 0, positive: 0, negative: 0 });

export const startPosition = (): Position => ({
  step: 0,
  queuePointer: 0,
  sums: noSums(),
  untrainedKnn: null,
  series: [],
});

export function startEpoch(position: Position): void {
  position.sums = noSums();
  position.series = [];
}

/** A copy that training does not touch, in shared memory: that of `into`, an earlier copy. 140 MB take 40 ms. */
export function snapshot(state: TrainState, into: TrainState = blankLike(state)): TrainState {
  for (const name of Object.keys(state) as (keyof TrainState)[]) into[name].set(state[name]);
  return into;
}

function blankLike(state: TrainState): TrainState {
  return {
    queryParams: floats(state.queryParams.length),
    keyParams: floats(state.keyParams.length),
    queryStats: floats(state.queryStats.length),
    keyStats: floats(state.keyStats.length),
    velocity: floats(state.velocity.length),
    second: floats(state.second.length),
    queue: floats(state.queue.length),
    queueIds: ints(state.queueIds.length),
  };
}

export const bytesOfState = (state: TrainState): number =>
  (Object.values(state) as (Float32Array | Int32Array)[]).reduce((sum, { byteLength }) => sum + byteLength, 0);
