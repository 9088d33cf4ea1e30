/**
 * How much memory a run takes, before it runs. One thread's heap is not computed from layers but from the step itself: two
 * small splits are run with every allocation recorded, each size is a line through the two, and the record is played
 * back for the split that was asked for.
 */
import { HEAP_LIMIT, type HeapRecord } from "../backend/heap.ts";
import { tooLarge } from "../engine/advice.ts";
import type { Tapes } from "../engine/open.ts";
import { type Phase, phasesOf } from "../engine/phases.ts";
import { Networks, ringsOf, slotsOf, threadsFor } from "../engine/state.ts";
import { directionsOf, unitsOf } from "../engine/units.ts";
import { methodOf } from "../methods/index.ts";
import { mostActivations } from "../nn/encoders/index.ts";
import { mostTextActivations } from "../nn/encoders/text.ts";
import { optimisers } from "../optim/optimiser.ts";
import type { TrainSpec } from "../schema/pretrain.ts";
import { UserError } from "../util/errors.ts";
import { noiseStep, rehearse, rehearseCouple } from "./rehearsal.ts";

/** Bytes. */
export interface Footprint {
  /** Parameters, momenta, gradients, rings: shared by the threads. */
  state: number;
  /** The WASM heap of each thread. */
  thread: number;
  /** Threads; more than compute at a time where batch norm spans the splits. */
  threads: number;
  /** Of a loss over the whole batch: whether the forward passes stay in memory until it is known. */
  tapes: Tapes;
  /** A checkpoint while it is written. */
  checkpoint: number;
  /** The program itself: Bun, libraries, compiled code. */
  program: number;
  total: number;
}

/** Measured: resident memory of a run whose model and images are negligible; 20% more or less as the collector goes. */
const PROGRAM = { base: 115e6, thread: 45e6, publisher: 30e6 };
/** Measured: heap that is touched for a byte that is in use at the peak; the rest lies between allocations. */
const BETWEEN = 1.12;

/** Images of the two recorded splits. */
const SAMPLES = [2, 4] as const;

const bytesOf = (shape: number) => shape * 4;

function stateBytes(spec: TrainSpec, channels: number, threads: number) {
  const networks = new Networks(spec, channels);
  const trained = networks.get(networks.trained).params.size;
  const params = networks.names.reduce((sum, name) => sum + networks.get(name).params.size, 0);
  const stats = networks.names.reduce((sum, name) => sum + networks.get(name).stats.size, 0);
  const saved = params + trained * (optimisers[spec.optimizer.algorithm].second ? 2 : 1);
  const rings = Object.values(ringsOf(spec)).reduce((sum, { rows, dim }) => sum + rows * (dim + 1), 0);
  const gradients = trained * (1 + slotsOf(spec, trained, threads));
  return {
    state: bytesOf(saved + rings + gradients + stats * (1 + unitsOf(spec))),
    // The snapshot, the file, and as much again in tensors of PyTorch's layout before they are collected.
    checkpoint: 3 * bytesOf(saved + rings),
  };
}

/** Phases in which a thread works on units, and so its heap grows with them. */
const ofUnits: readonly Phase[] = ["targets", "rows", "couple", "learn"];

/** Peak bytes in use in one thread's heap. Takes a second or a few: it trains on two and on four images. */
async function heapOf(spec: TrainSpec, channels: number, threads: number, tapes: Tapes): Promise<number> {
  const [small, large] = await Promise.all([
    recordStep(spec, channels, SAMPLES[0], tapes),
    recordStep(spec, channels, SAMPLES[1], tapes),
  ]);
  const images = spec.batchSize / spec.splits;
  const peak = peakOf(small.all, large.all, images);
  if (methodOf(spec).couples === "rows") return peak;
  const couple = await recordCouple(spec, channels);
  // One unit of each direction was recorded; a thread that keeps tapes has those of all of its units.
  const unit = playBack(small.rows, large.rows, images).live / directionsOf(spec);
  const more = tapes === "kept" ? Math.ceil(unitsOf(spec) / threads) - directionsOf(spec) : 0;
  return Math.max(peak + Math.max(0, more) * unit, unit * (tapes === "kept" ? more + directionsOf(spec) : 0) + couple);
}

/** What one thread's heap goes through for a split of `n` images in every direction: up to the rows, and in all. */
export async function recordStep(
  spec: TrainSpec,
  channels: number,
  n: number,
  tapes: Tapes = "recomputed",
): Promise<{ rows: HeapRecord; all: HeapRecord }> {
  const one = { ...spec, batchSize: n, splits: 1 } as TrainSpec;
  return rehearse(one, channels, 1, tapes, async ({ model, engine, pixels }) => {
    // Every target in a ring is of image 0, which is in the batch: so a mask, where one is asked for, is made.
    for (const block of Object.values(model.state)) if (block instanceof Int32Array) block.fill(0);
    const step = noiseStep(pixels, 0, Object.keys(ringsOf(one)), model.networks.followers);
    const phases = phasesOf(methodOf(one)).filter((phase) => ofUnits.includes(phase));
    const record = async (some: readonly Phase[]): Promise<HeapRecord> => {
      await engine.pool.run({ kind: "heap" });
      for (const phase of some) await engine.run(phase, step);
      return ((await engine.pool.run({ kind: "heap" })) as [HeapRecord])[0];
    };
    if (!phases.includes("rows")) return { rows: [], all: await record(phases) };
    const before = phases.slice(0, phases.indexOf("rows") + 1);
    const rows = await record(before);
    for (const phase of phases.slice(before.length)) await engine.run(phase, step);
    return { rows, all: await record(phases) };
  });
}

/** Peak bytes of a loss over the whole batch, at its own size. */
async function recordCouple(spec: TrainSpec, channels: number): Promise<number> {
  return rehearseCouple(spec, channels, async (pool) => {
    await pool.run({ kind: "heap" });
    await pool.run({ kind: "couple" });
    const [record] = (await pool.run({ kind: "heap" })) as [HeapRecord];
    return playBack(record, record, SAMPLES[0]).peak;
  });
}

/** The records of 2 and of 4 images, played back for `n`. Throws where they are not of one sequence. */
export const peakOf = (small: HeapRecord, large: HeapRecord, n: number): number => playBack(small, large, n).peak;

function playBack(small: HeapRecord, large: HeapRecord, n: number): { peak: number; live: number } {
  if (small.length !== large.length) {
    throw new Error(`footprint: ${small.length} events of the heap for 2 images, ${large.length} for 4`);
  }
  const sizes: number[] = [];
  let [live, peak] = [0, 0];
  for (const [i, event] of small.entries()) {
    if (event < 0) live -= sizes[-1 - event] as number;
    else {
      const slope = ((large[i] as number) - event) / (SAMPLES[1] - SAMPLES[0]);
      const size = event + slope * (n - SAMPLES[0]);
      sizes.push(size);
      live += size;
      peak = Math.max(peak, live);
    }
  }
  return { peak, live };
}

/** What a spec asks for; a method without the field decides nothing. */
const tapesAsked = (spec: TrainSpec): Tapes | "auto" => ("tapes" in spec ? spec.tapes : "auto");

/** Unless the spec says it, tapes are kept where that fits into the memory that is free, with a fifth of it to spare. */
export async function footprint(
  spec: TrainSpec,
  channels: number,
  threads: number,
  available = process.availableMemory(),
): Promise<Footprint> {
  const { state, checkpoint } = stateBytes(spec, channels, threads);
  const all = threadsFor(spec, threads);
  const program = PROGRAM.base + PROGRAM.publisher + all * PROGRAM.thread;
  const of = async (tapes: Tapes): Promise<Footprint> => {
    const thread = BETWEEN * (await heapOf(spec, channels, all, tapes));
    return {
      state,
      thread,
      threads: all,
      tapes,
      checkpoint,
      program,
      total: state + all * thread + checkpoint + program,
    };
  };
  const asked = tapesAsked(spec);
  if (methodOf(spec).couples === "batch" && asked !== "recomputed") {
    const kept = await of("kept");
    if (asked === "kept" || (kept.thread < 0.8 * HEAP_LIMIT && kept.total < 0.8 * available)) return kept;
  }
  return of("recomputed");
}

/** Of the process beside a GPU that computes. */
export function hostFootprint(spec: TrainSpec, channels: number): Footprint {
  const { state, checkpoint } = stateBytes(spec, channels, 1);
  const program = PROGRAM.base + PROGRAM.publisher + PROGRAM.thread;
  return {
    state,
    thread: 0,
    threads: 1,
    tapes: "kept",
    checkpoint,
    program,
    total: state + checkpoint + program,
  };
}

/**
 * Whether tapes are kept. Throws UserError where the run cannot have the memory that it will take. Where it plainly can,
 * this costs nothing: the exact answer takes a second or a few.
 */
export async function expectMemory(
  spec: TrainSpec,
  channels: number,
  threads: number,
  available = process.availableMemory(),
): Promise<Tapes> {
  const networks = new Networks(spec, channels);
  const { params } = networks.get(networks.trained);
  const method = methodOf(spec);
  const coupled = method.couples === "batch";
  const all = threadsFor(spec, threads);
  const keeps = coupled && tapesAsked(spec) !== "recomputed";
  const units = keeps ? Math.ceil(unitsOf(spec) / all) : 1;
  const images = spec.batchSize / spec.splits;
  // Above what any encoder here takes, with ten times its parameters.
  const text = networks.specOf(networks.trained).text?.encoder;
  const activations =
    units * images * (mostActivations(spec.encoder, spec.augmentation.size) + (text ? mostTextActivations(text) : 0));
  const rings = Object.values(ringsOf(spec)).reduce((sum, { rows, dim }) => sum + (images + 3 * dim) * rows, 0);
  const rows = coupled ? Object.values(method.rows(spec)).reduce((sum, { dim }) => sum + dim * dim, 0) : 0;
  const pairs = coupled ? (2 * spec.batchSize) ** 2 : 0;
  const most = bytesOf(10 * params.size + activations + rings + 8 * (rows + pairs));
  const { state } = stateBytes(spec, channels, threads);
  if (most < HEAP_LIMIT / 2 && 2 * state + all * most < available / 2) return keeps ? "kept" : "recomputed";
  const needed = await footprint(spec, channels, threads, available);
  expectFit(spec, needed, available);
  return needed.tapes;
}

/** Throws UserError where what is needed is more than WASM or the machine has. */
export function expectFit(spec: TrainSpec, needed: Footprint, available = process.availableMemory()): void {
  if (needed.thread > HEAP_LIMIT) {
    const parts = `${gigabytes(needed.thread)} are needed, WASM has ${gigabytes(HEAP_LIMIT)}`;
    throw new UserError(tooLarge(spec, parts) + keptAdvice(spec));
  }
  if (needed.total > available) {
    const parts = `${gigabytes(needed.total)} are needed, ${gigabytes(needed.thread)} of them for each of ${needed.threads} threads`;
    throw new UserError(
      `${tooLarge(spec, `${parts}; ${gigabytes(available)} are free`)}; or run with fewer threads (MOCOD_THREADS)${keptAdvice(spec)}`,
    );
  }
}

const keptAdvice = (spec: TrainSpec): string =>
  tapesAsked(spec) === "kept"
    ? '; or set spec.tapes to "recomputed": it is "kept", the forward passes of the whole batch'
    : "";

export const gigabytes = (bytes: number): string =>
  bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
