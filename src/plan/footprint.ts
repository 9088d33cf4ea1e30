/**
 * How much memory a run takes, before it runs. One thread's heap is not computed from layers but from the step itself: two
 * small splits are run with every allocation recorded, each size is a line through the two, and the record is played
 * back for the split that was asked for.
 */
import { HEAP_LIMIT, type HeapRecord } from "../backend/heap.ts";
import { tooLarge } from "../engine/advice.ts";
import { directionsOf, encoderOf, gradientSlots, unitsOf } from "../engine/state.ts";
import { optimisers } from "../optim/optimiser.ts";
import { type PretrainSpec, strideOf } from "../schema/pretrain.ts";
import { UserError } from "../util/errors.ts";
import { rehearse } from "./rehearsal.ts";

/** Bytes. */
export interface Footprint {
  /** Parameters, momenta, gradients, queue: shared by the threads. */
  state: number;
  /** The WASM heap of each thread. */
  thread: number;
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

function stateBytes(spec: PretrainSpec, channels: number, threads: number) {
  const { params, stats } = encoderOf(spec, channels);
  const units = unitsOf(spec);
  const saved = params.size * (optimisers[spec.optimizer.algorithm].second ? 4 : 3);
  const queue = spec.queueSize * (spec.dim + 1);
  const gradients = params.size * (1 + gradientSlots(params.size, units, threads));
  return {
    state: bytesOf(saved + queue + gradients + stats.size * (2 + 2 * units)),
    // The snapshot, the file, and as much again in tensors of PyTorch's layout before they are collected.
    checkpoint: 3 * bytesOf(saved + queue),
  };
}

/** Peak bytes in use in one thread's heap. Takes a second or a few: it trains on two and on four images. */
async function heapOf(spec: PretrainSpec, channels: number): Promise<number> {
  const [small, large] = (await Promise.all(SAMPLES.map((n) => recordStep(spec, channels, n)))) as [
    ...[HeapRecord, HeapRecord],
  ];
  return peakOf(small, large, spec.batchSize / spec.splits);
}

/** What one thread's heap goes through for the keys and the queries of a split of `n` images. */
export async function recordStep(spec: PretrainSpec, channels: number, n: number): Promise<HeapRecord> {
  const one: PretrainSpec = { ...spec, batchSize: n, splits: 1 };
  return rehearse(one, channels, 1, async ({ model, pool, pixels }) => {
    // Every key is of image 0, which is in the batch: so a mask, where one is asked for, is made.
    model.state.queueIds.fill(0);
    await pool.run({ kind: "heap" });
    await pool.run({ kind: "keys", epoch: 0, pixels });
    await pool.run({ kind: "queries", epoch: 0, pixels, from: 0, to: Math.min(model.slots, directionsOf(one)) });
    const [record] = (await pool.run({ kind: "heap" })) as [HeapRecord];
    return record;
  });
}

/** The records of 2 and of 4 images, played back for `n`. Throws where they are not of one sequence. */
export function peakOf(small: HeapRecord, large: HeapRecord, n: number): number {
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
  return peak;
}

export async function footprint(spec: PretrainSpec, channels: number, threads: number): Promise<Footprint> {
  const { state, checkpoint } = stateBytes(spec, channels, threads);
  const thread = BETWEEN * (await heapOf(spec, channels));
  const program = PROGRAM.base + PROGRAM.publisher + threads * PROGRAM.thread;
  return { state, thread, checkpoint, program, total: state + threads * thread + checkpoint + program };
}

/** Of the process beside a GPU that computes. */
export function hostFootprint(spec: PretrainSpec, channels: number): Footprint {
  const { state, checkpoint } = stateBytes(spec, channels, 1);
  const program = PROGRAM.base + PROGRAM.publisher + PROGRAM.thread;
  return { state, thread: 0, checkpoint, program, total: state + checkpoint + program };
}

/**
 * Throws UserError where the run cannot have the memory that it will take. Where it plainly can, this costs nothing: the
 * exact answer takes a second or a few.
 */
export async function expectMemory(
  spec: PretrainSpec,
  channels: number,
  threads: number,
  available = process.availableMemory(),
): Promise<void> {
  const { params } = encoderOf(spec, channels);
  const side = (spec.augmentation.size * 8) / strideOf(spec.encoder);
  // Above what any ResNet here takes: ten times its parameters, 120 activations of the first stage for an image.
  const activations = (spec.batchSize / spec.splits) * 120 * side * side * spec.encoder.width;
  const logits = (spec.batchSize / spec.splits + 3 * spec.dim) * spec.queueSize;
  const most = bytesOf(10 * params.size + activations + logits);
  const { state } = stateBytes(spec, channels, threads);
  if (most < HEAP_LIMIT / 2 && 2 * state + threads * most < available / 2) return;
  expectFit(spec, threads, await footprint(spec, channels, threads), available);
}

/** Throws UserError where what is needed is more than WASM or the machine has. */
export function expectFit(
  spec: PretrainSpec,
  threads: number,
  needed: Footprint,
  available = process.availableMemory(),
): void {
  if (needed.thread > HEAP_LIMIT) {
    throw new UserError(tooLarge(spec, `${gigabytes(needed.thread)} are needed, WASM has ${gigabytes(HEAP_LIMIT)}`));
  }
  if (needed.total > available) {
    const parts = `${gigabytes(needed.total)} are needed, ${gigabytes(needed.thread)} of them for each of ${threads} threads`;
    throw new UserError(
      `${tooLarge(spec, `${parts}; ${gigabytes(available)} are free`)}; or run with fewer threads (MOCOD_THREADS)`,
    );
  }
}

export const gigabytes = (bytes: number): string =>
  bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
