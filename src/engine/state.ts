/**
 * Everything a run is, in shared memory: the train state (what a checkpoint saves) and the scratch of one step.
 * Threads read and write disjoint parts of it between barriers, so no locks are needed.
 */
import { PLACE } from "../data/source.ts";
import { methodOf } from "../methods/index.ts";
import type { NetworkSpec, RingSpec, StateSpec } from "../methods/method.ts";
import { initQueue } from "../methods/ring.ts";
import { buildNetwork, type Network } from "../nn/network.ts";
import { optimisers } from "../optim/optimiser.ts";
import type { TrainSpec } from "../schema/pretrain.ts";
import { UserError } from "../util/errors.ts";
import { lossFiguresOf } from "./metrics.ts";
import { directionsOf, splitsMeet, unitsOf } from "./units.ts";

/** A part of the state, in shared memory. */
export type Block = Float32Array | Int32Array;

/** By name, see `blockNames`: what a checkpoint saves and a GPU mirrors. In a fixed order. */
export type TrainState = Readonly<Record<string, Block>>;

/** Names of the blocks. */
export const blockNames = {
  params: (network: string) => `${network}.params`,
  stats: (network: string) => `${network}.stats`,
  /** The optimiser's first moment (SGD's velocity) and second one (only AdamW has one). */
  first: "optimizer.first",
  second: "optimizer.second",
  ring: (ring: string) => ring,
  ringIds: (ring: string) => `${ring}.ids`,
  /** The method's own state. */
  own: (name: string) => `own.${name}`,
} as const;

/** @throws where there is no such block of floats. */
export function floatsOf(state: TrainState, name: string): Float32Array {
  const block = state[name];
  if (!(block instanceof Float32Array)) throw new Error(`the state has no floats ${name}: ${Object.keys(state)}`);
  return block;
}

/** @throws where there is no such block of integers. */
export function intsOf(state: TrainState, name: string): Int32Array {
  const block = state[name];
  if (!(block instanceof Int32Array)) throw new Error(`the state has no integers ${name}: ${Object.keys(state)}`);
  return block;
}

/**
 * A unit is one split in one direction, see `units.ts`. D directions, N batch, C dimension of a target.
 */
export interface StepBuffers {
  /** Dataset indices of the batch, i32[N]. */
  readonly batch: Int32Array;
  /** Where their pixels are, f64[N, PLACE]. */
  readonly places: Float64Array;
  /** Classes of the batch, i32[N]: of supervised training only. */
  readonly labels: Int32Array;
  /** Tokens of the batch's texts, i32[N, context], and how many of each count, i32[N]. Empty without texts. */
  readonly tokens: Int32Array;
  readonly lengths: Int32Array;
  /** The method's `schedules` in this step, in their order, f32. */
  readonly scheduled: Float32Array;
  /** Order in which each direction's targets are dealt to splits, i32[D, N]. Empty without targets. */
  readonly order: Int32Array;
  /** Targets of this step by direction and batch position, f32[D, N, C]. Empty without targets. */
  readonly targets: Float32Array;
  /** Rows that a coupled loss needs, by name, f32[D, N, dim] by direction and batch position; its gradient by them. */
  readonly rows: Readonly<Record<string, Float32Array>>;
  readonly rowGradients: Readonly<Record<string, Float32Array>>;
  /** Gradient of each unit in flight, f32[slots, P]; summed into `gradient` in the order of units. */
  readonly unitGradients: Float32Array;
  readonly gradient: Float32Array;
  /** Gradient of the method's own parameters by a loss over the batch, f32; copied to the end of `gradient`. */
  readonly ownGradient: Float32Array;
  /** Sum of squares of each tensor's gradient, f64[T]; of a clipped gradient only. */
  readonly squares: Float64Array;
  /** Batch statistics (mean, unbiased variance) of each unit, f32[units, B], of each network. */
  readonly batchStats: Readonly<Record<string, Float32Array>>;
  /** Loss and metrics, f64[units, 1 + M]; of a coupled loss the first row alone. */
  readonly metrics: Float64Array;
  /** Next unit to take. */
  readonly counter: Int32Array;
  /** Where threads meet inside a layer, see `threads/meeting.ts`. Empty unless batch norm spans splits. */
  readonly meeting: { readonly control: Int32Array; readonly values: Float64Array };
}

const floats = (n: number) => new Float32Array(new SharedArrayBuffer(n * 4));
const doubles = (n: number) => new Float64Array(new SharedArrayBuffer(n * 8));
const ints = (n: number) => new Int32Array(new SharedArrayBuffer(n * 4));

/**
 * Units whose gradients are held at once: all of them if that takes less than 128 MB, else as many as fit, a whole number
 * of `together` and at least that. Threads meet once a round.
 */
export function gradientSlots(params: number, units: number, together: number): number {
  const fitting = Math.floor((128 * 2 ** 20) / (params * 4));
  if (fitting >= units) return units;
  return Math.min(units, together * Math.max(1, Math.floor(fitting / together)));
}

const networkOf = ({ encoder, augmentation }: TrainSpec, channels: number, of: NetworkSpec): Network =>
  buildNetwork(encoder, channels, augmentation.size, of.heads, of.parameters, of.text);

/** The networks of a spec, in the method's order: the trained one first. */
export class Networks {
  readonly names: readonly string[];
  /** The one that is trained. */
  readonly trained: string;
  private readonly built: ReadonlyMap<string, { readonly spec: NetworkSpec; readonly network: Network }>;

  constructor(spec: TrainSpec, channels: number) {
    const specs = methodOf(spec).networks(spec);
    this.built = new Map(
      Object.entries(specs).map(([name, own]) => [name, { spec: own, network: networkOf(spec, channels, own) }]),
    );
    this.names = [...this.built.keys()];
    this.trained = this.names[0] as string;
    const { entries } = this.get(this.trained).params;
    for (const name of this.followers) {
      const differs = this.get(name).params.entries.findIndex((entry, i) => entry.name !== entries[i]?.name);
      if (differs >= 0) throw new Error(`${name}: its heads have to be the first ones of ${this.trained}`);
    }
  }

  get followers(): readonly string[] {
    return this.names.filter((name) => this.specOf(name).follows);
  }

  /** @throws where there is none of that name. */
  get(name: string): Network {
    return this.of(name).network;
  }

  specOf(name: string): NetworkSpec {
    return this.of(name).spec;
  }

  private of(name: string) {
    const found = this.built.get(name);
    if (!found) throw new Error(`there is no network ${name}, only ${this.names}`);
    return found;
  }
}

export interface Model {
  readonly spec: TrainSpec;
  readonly networks: Networks;
  /** The one that is trained. */
  readonly trained: Network;
  readonly state: TrainState;
  readonly buffers: StepBuffers;
  /** Units whose gradients are held at once. */
  readonly slots: number;
}

/** Parameters and statistics of the trained network. */
export const trainedParams = ({ networks, state }: Pick<Model, "networks" | "state">): Float32Array =>
  floatsOf(state, blockNames.params(networks.trained));
export const trainedStats = ({ networks, state }: Pick<Model, "networks" | "state">): Float32Array =>
  floatsOf(state, blockNames.stats(networks.trained));

export const ringsOf = (spec: TrainSpec): Readonly<Record<string, RingSpec>> => methodOf(spec).rings?.(spec) ?? {};

/** Of the method's own. */
export const statesOf = (spec: TrainSpec): Readonly<Record<string, StateSpec>> => methodOf(spec).state?.(spec) ?? {};

/** @throws where the method has none of that name. */
export function ownStateOf(spec: TrainSpec, name: string): StateSpec {
  const found = statesOf(spec)[name];
  if (!found) throw new Error(`the method has no state ${name}, only ${Object.keys(statesOf(spec))}`);
  return found;
}

export const schedulesOf = (spec: TrainSpec): Readonly<Record<string, (progress: number) => number>> =>
  methodOf(spec).schedules?.(spec) ?? {};

/** Puts the method's schedules at `progress`, the share of all steps that are done, into the buffers. */
export function setSchedules({ spec, buffers }: Pick<Model, "spec" | "buffers">, progress: number): void {
  buffers.scheduled.set(Object.values(schedulesOf(spec)).map((of) => of(progress)));
}

/** The place of a schedule in `StepBuffers.scheduled`. @throws where the method has none of that name. */
export function scheduleIndex(spec: TrainSpec, name: string): number {
  const names = Object.keys(schedulesOf(spec));
  const index = names.indexOf(name);
  if (index < 0) throw new Error(`the method has no schedule ${name}, only ${names}`);
  return index;
}

/** A fresh state: the trained network by its seed, its followers copies of it, rings of random unit vectors. */
export function createModel(spec: TrainSpec, channels: number, threads: number): Model {
  const model = allocateModel(spec, channels, threads);
  initialise(model);
  return model;
}

function initialise({ spec, networks, trained, state }: Model): void {
  const [params, stats] = [trainedParams({ networks, state }), trainedStats({ networks, state })];
  trained.params.initialise(params, spec.seed);
  trained.stats.initialise(stats, spec.seed);
  for (const name of networks.followers) {
    // Its parameters are the first ones of the trained network.
    const [own, ownStats] = [floatsOf(state, blockNames.params(name)), floatsOf(state, blockNames.stats(name))];
    own.set(params.subarray(0, own.length));
    ownStats.set(stats.subarray(0, ownStats.length));
  }
  initMethodState(spec, state);
}

/**
 * Puts the moving average in the trained network's place: what it has of it.
 * @throws UserError where the method has none.
 */
export function useAverage({ spec, networks, state }: Model): void {
  const [average] = networks.followers;
  if (average === undefined) {
    throw new UserError(`spec.encoder: got "average", allowed: "trained"; ${spec.method} keeps no moving average`);
  }
  for (const block of [blockNames.params, blockNames.stats]) {
    floatsOf(state, block(networks.trained)).set(floatsOf(state, block(average)));
  }
}

/** What the method has besides networks: rings of random unit vectors of no image, its own state at its first value. */
export function initMethodState(spec: TrainSpec, state: TrainState): void {
  for (const [name, { init }] of Object.entries(statesOf(spec))) floatsOf(state, blockNames.own(name)).fill(init);
  for (const [name, { dim }] of Object.entries(ringsOf(spec))) {
    initQueue(floatsOf(state, blockNames.ring(name)), dim, spec.seed);
    intsOf(state, blockNames.ringIds(name)).fill(-1);
  }
}

/** All zeros, to be filled from a file. */
export function allocateModel(spec: TrainSpec, channels: number, threads: number): Model {
  const networks = new Networks(spec, channels);
  const trained = networks.get(networks.trained);
  const slots = slotsOf(spec, trained.params.size, threads);
  const state = allocateState(spec, networks);
  return { spec, networks, trained, state, buffers: allocateBuffers(spec, networks, slots), slots };
}

/** Splits that batch norm normalises together go through a layer at the same time, each on a thread of its own. */
export const threadsFor = (spec: TrainSpec, threads: number): number => (splitsMeet(spec) ? spec.splits : threads);

export const slotsOf = (spec: TrainSpec, params: number, threads: number): number =>
  gradientSlots(params, unitsOf(spec), threadsFor(spec, threads));

function allocateState(spec: TrainSpec, networks: Networks): TrainState {
  const state: Record<string, Block> = {};
  for (const name of networks.names) {
    const { params, stats } = networks.get(name);
    state[blockNames.params(name)] = floats(params.size);
    state[blockNames.stats(name)] = floats(stats.size);
  }
  const { size } = networks.get(networks.trained).params;
  state[blockNames.first] = floats(size);
  if (optimisers[spec.optimizer.algorithm].second) state[blockNames.second] = floats(size);
  for (const [name, { rows, dim }] of Object.entries(ringsOf(spec))) {
    state[blockNames.ring(name)] = floats(rows * dim);
    state[blockNames.ringIds(name)] = ints(rows).fill(-1);
  }
  const states = Object.entries(statesOf(spec));
  if (states.length > 0 && !methodOf(spec).targets)
    throw new Error(`${spec.method}: state is of targets, and it has none`);
  for (const [name, { shape }] of states) state[blockNames.own(name)] = floats(shape.reduce((a, b) => a * b, 1));
  return state;
}

function allocateBuffers(spec: TrainSpec, networks: Networks, slots: number): StepBuffers {
  const method = methodOf(spec);
  const { batchSize, splits } = spec;
  const [units, directions] = [unitsOf(spec), directionsOf(spec)];
  const { params } = networks.get(networks.trained);
  const rows = method.couples === "batch" ? method.rows(spec) : {};
  const perRow = (wanted: (row: { constant?: boolean }) => boolean) =>
    Object.fromEntries(
      Object.entries(rows)
        .filter(([, row]) => wanted(row))
        .map(([name, { dim }]) => [name, floats(directions * batchSize * dim)]),
    );
  const widest = Math.max(0, ...networks.names.flatMap((n) => networks.get(n).stats.entries.map(({ size }) => size)));
  const meets = splitsMeet(spec);
  const context = networks.specOf(networks.trained).text?.encoder.context ?? 0;
  return {
    batch: ints(batchSize),
    places: doubles(batchSize * PLACE),
    labels: ints(batchSize),
    tokens: ints(context * batchSize),
    lengths: ints(context > 0 ? batchSize : 0),
    scheduled: floats(Object.keys(schedulesOf(spec)).length),
    order: ints(method.targets ? directions * batchSize : 0),
    targets: floats(method.targets ? directions * batchSize * method.targets.dim(spec) : 0),
    rows: perRow(() => true),
    rowGradients: perRow(({ constant }) => !constant),
    unitGradients: floats(slots * params.size),
    gradient: floats(params.size),
    ownGradient: floats(params.own.reduce((sum, { size }) => sum + size, 0)),
    squares: doubles(params.entries.length),
    batchStats: Object.fromEntries(networks.names.map((n) => [n, floats(units * networks.get(n).stats.size)])),
    metrics: doubles(units * lossFiguresOf(spec).length),
    counter: ints(1),
    meeting: { control: ints(meets ? MEETING_INTS : 0), values: doubles(meets ? splits * 2 * widest : 0) },
  };
}

/** Integers by which threads agree to meet, see `threads/meeting.ts`. */
export const MEETING_INTS = 4;

/** A copy that training does not touch, in shared memory: that of `into`, an earlier copy. 140 MB take 40 ms. */
export function snapshot(state: TrainState, into: TrainState = blankLike(state)): TrainState {
  for (const [name, block] of Object.entries(into)) block.set(state[name] as Block);
  return into;
}

const blankLike = (state: TrainState): TrainState =>
  Object.fromEntries(
    Object.entries(state).map(([name, block]) => [
      name,
      block instanceof Int32Array ? ints(block.length) : floats(block.length),
    ]),
  );

export const bytesOfState = (state: TrainState): number =>
  Object.values(state).reduce((sum, { byteLength }) => sum + byteLength, 0);
