import { expect } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import * as tf from "@tensorflow/tfjs-core";
import sharp from "sharp";
import type { HeapRecord } from "../../src/backend/heap.ts";
import { wasmDevice } from "../../src/backend/wasm.ts";
import { type HeldImages, type Images, isHeld } from "../../src/data/types.ts";
import type { Computing } from "../../src/engine/engine.ts";
import type { PretrainSpec } from "../../src/schema/pretrain.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { RunStore } from "../../src/store/run_store.ts";
import { decodeSafetensors } from "../../src/store/safetensors.ts";
import { type PretrainOutcome, type PretrainResult, pretrain } from "../../src/train/pretrain.ts";
import { Stream } from "../../src/util/random.ts";

/** `npm run test:long`: proofs in their whole length, which `npm test` has no time for. */
export const LONG = process.env.MOCOD_LONG === "1";

/** A folder that is gone when the test is: `using folder = temporaryFolder()`. */
export function temporaryFolder() {
  const path = mkdtempSync(join(tmpdir(), "mocod-test-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Narrows to decoded images. */
export function held(images: Images | undefined): HeldImages {
  if (!images || !isHeld(images)) throw new Error("these images are not held in memory");
  return images;
}

/** Reads a golden of test/golden: the values of a tensor by name. */
export function golden(name: string): (tensor: string) => Float32Array {
  const file = join(import.meta.dir, "../golden", name);
  const { tensors } = decodeSafetensors(new Uint8Array(readFileSync(file)), file);
  return (tensor) => {
    const { data } = tensors.get(tensor) ?? {};
    if (!(data instanceof Float32Array)) throw new Error(`${file} holds no ${tensor}`);
    return data;
  };
}

/** max |got - expected| / max |expected| */
export function relativeError(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(got.length).toBe(expected.length);
  let error = 0;
  let scale = 0;
  for (let i = 0; i < got.length; i++) {
    error = Math.max(error, Math.abs((got[i] as number) - (expected[i] as number)));
    scale = Math.max(scale, Math.abs(expected[i] as number));
    if (!Number.isFinite(got[i])) return Number.POSITIVE_INFINITY;
  }
  return scale === 0 ? error : error / scale;
}

/** Repeatable normal numbers. */
export const noise = (length: number, salt: number) => {
  const stream = new Stream(salt, "probe", length);
  return Float32Array.from({ length }, () => stream.normal());
};

/** Fails where `gradient` is not that of sum(dy * f(x)) by x, in float64. */
export function expectGradient(
  f: (x: Float64Array) => ArrayLike<number>,
  x: ArrayLike<number>,
  dy: ArrayLike<number>,
  gradient: ArrayLike<number>,
): void {
  const value = (i: number, step: number) => {
    const moved = Float64Array.from(x);
    moved[i] = (moved[i] as number) + step;
    const y = f(moved);
    let sum = 0;
    for (let k = 0; k < y.length; k++) sum += (y[k] as number) * (dy[k] as number);
    return sum;
  };
  for (let i = 0; i < x.length; i++) {
    const slope = (value(i, 1e-5) - value(i, -1e-5)) / 2e-5;
    expect(Math.abs(slope - (gradient[i] as number))).toBeLessThan(1e-8 * (1 + Math.abs(slope)));
  }
}

/** `sampled` of methods_nets.py: up to 61 places, evenly. */
export const sampled = (v: Float32Array): Float32Array =>
  v.filter((_, i) => i % Math.max(1, Math.ceil(v.length / 61)) === 0);

/** A repeatable wave of values in [-1, 1]. */
export const wave = (length: number, salt = 0) =>
  Float32Array.from({ length }, (_, i) => Math.sin(1.7 * i + 0.3 * salt + ((i * 7919) % 13)));

/** Writes Fashion-MNIST's four files, small: each image is a bright bar whose row tells its class. */
export function writeFashionLike(folder: string, train: number, test: number): void {
  mkdirSync(folder, { recursive: true });
  const idx = (shape: number[], bytes: Uint8Array) => {
    const header = Buffer.alloc(4 + 4 * shape.length);
    header[2] = 8;
    header[3] = shape.length;
    shape.forEach((side, i) => {
      header.writeUInt32BE(side, 4 + 4 * i);
    });
    return gzipSync(Buffer.concat([header, bytes]));
  };
  for (const [prefix, count] of [
    ["train", train],
    ["t10k", test],
  ] as const) {
    const labels = Uint8Array.from({ length: count }, (_, i) => i % 10);
    const pixels = new Uint8Array(count * 784);
    for (let i = 0; i < count; i++) {
      for (let p = 0; p < 784; p++) {
        const row = Math.floor(p / 28);
        const bar = Math.abs(row - 2.5 * (i % 10) - 2) < 2;
        pixels[i * 784 + p] = (bar ? 200 : 20) + ((i * 31 + p * 17) % 40);
      }
    }
    writeFileSync(join(folder, `${prefix}-images-idx3-ubyte.gz`), idx([count, 28, 28], pixels));
    writeFileSync(join(folder, `${prefix}-labels-idx1-ubyte.gz`), idx([count], labels));
  }
}

const COLOURS = { red: [220, 30, 30], green: [30, 200, 40], blue: [40, 60, 230], grey: [128, 128, 128] } as const;
const SHAPES = ["bar", "pole", "frame"] as const;

/**
 * Pairs of images and texts in `folder`: train and test parts, a class folder for each colour, a PNG of 24 x 24 pixels with a shape,
 * and beside it a .txt of two lines that name both.
 */
export async function writePairs(folder: string, train: number, test: number): Promise<void> {
  const colours = Object.entries(COLOURS);
  const picture = async (part: string, i: number) => {
    const [colour, rgb] = colours[i % colours.length] as (typeof colours)[number];
    const shape = SHAPES[Math.floor(i / colours.length) % SHAPES.length] as (typeof SHAPES)[number];
    const [side, at] = [24, 2 + (i % 11)];
    const inside = (x: number, y: number) => {
      if (shape === "bar") return Math.abs(y - at - 4) < 4;
      if (shape === "pole") return Math.abs(x - at - 4) < 4;
      return Math.max(Math.abs(x - 12), Math.abs(y - 12)) > 8;
    };
    const pixels = Uint8Array.from({ length: side * side * 3 }, (_, p) => {
      const place = Math.floor(p / 3);
      return inside(place % side, Math.floor(place / side)) ? (rgb[p % 3] as number) : 240 - ((i * 7 + place) % 20);
    });
    const base = join(folder, part, colour, `${i}`);
    mkdirSync(join(folder, part, colour), { recursive: true });
    writeFileSync(`${base}.txt`, `a ${colour} ${shape}\n${shape} of ${colour}\n`);
    writeFileSync(
      `${base}.png`,
      await sharp(pixels, { raw: { width: side, height: side, channels: 3 } })
        .png()
        .toBuffer(),
    );
  };
  for (const [part, count] of [
    ["train", train],
    ["test", test],
  ] as const) {
    for (let i = 0; i < count; i++) await picture(part, i);
  }
}

/** A tiny run on what `writePairs` has written. */
export const tinyPairs = (folder: string, more: object = {}) => ({
  method: "clip",
  dataset: { kind: "folder", path: folder, texts: "beside", size: 16 },
  encoder: { arch: "resnet10", stem: "cifar", width: 4 },
  text: { tokens: { kind: "bytes" }, context: 24, width: 24, depth: 1, heads: 3 },
  dim: 16,
  augmentation: { size: 16 },
  batchSize: 16,
  splits: 2,
  epochs: 2,
  optimizer: { lr: 0.005, warmup: 0 },
  monitor: { bank: 40, holdout: 16, k: 5 },
  ...more,
});

/** What runs on this machine, from /proc. */
export function processes(): { pid: number; parent: number; state: string; args: string }[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const [state = "", parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const args = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      return [{ pid: Number(name), parent: Number(parent), state, args }];
    } catch {
      return []; // it has ended while we were looking
    }
  });
}

export const childrenOf = (pid: number): number[] =>
  processes()
    .filter(({ parent, state }) => parent === pid && state !== "Z")
    .map((child) => child.pid);

/** Polls until `look` gives a value. Rejects after `seconds`, so that a broken test ends. */
export async function eventually<T>(look: () => Promise<T | undefined | false>, seconds = 60): Promise<T> {
  const deadline = performance.now() + seconds * 1000;
  for (;;) {
    const value = await look();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`not within ${seconds} s`);
    await Bun.sleep(20);
  }
}

/**
 * From now on every allocation of the device's heap lies between guard words and is full of NaN: a kernel that reads what
 * it was not given returns NaN, and one that writes there fails when the memory is freed.
 */
export function guardHeap(): () => void {
  const { backend } = wasmDevice();
  const wasm = backend.wasm as unknown as {
    HEAPU32: Uint32Array;
    _malloc(bytes: number): number;
    _free(address: number): void;
  };
  const GUARD = 64;
  const NAN = 0x7fc0dead;
  const { _malloc: malloc, _free: free } = wasm;
  const sizes = new Map<number, number>();
  wasm._malloc = (bytes) => {
    const whole = Math.ceil(bytes / 4) * 4;
    const address = (malloc(whole + 2 * GUARD) >>> 0) + GUARD;
    sizes.set(address, whole);
    wasm.HEAPU32.fill(NAN, (address - GUARD) / 4, (address + whole + GUARD) / 4);
    return address;
  };
  wasm._free = (address) => {
    const bytes = sizes.get(address);
    if (bytes === undefined) return free(address);
    for (const start of [address - GUARD, address + bytes]) {
      const words = wasm.HEAPU32.subarray(start / 4, (start + GUARD) / 4);
      if (!words.every((word) => word === NAN)) throw new Error(`a kernel wrote beyond its ${bytes} bytes`);
    }
    sizes.delete(address);
    free(address - GUARD);
  };
  return () => {
    wasm._malloc = malloc;
    // What is still there was given out with guards around it.
    wasm._free = (address) => free(sizes.delete(address) ? address - GUARD : address);
  };
}

/** Most bytes that were in use at once in a record of the heap. */
export function peakIn(record: HeapRecord): number {
  const sizes: number[] = [];
  let [live, peak] = [0, 0];
  for (const event of record) {
    if (event > 0) sizes.push(event);
    live += event > 0 ? event : -(sizes[-1 - event] as number);
    peak = Math.max(peak, live);
  }
  return peak;
}

/** tf.tidy for what has to wait: frees every tensor that `work` made. */
export async function tidied(work: () => Promise<void>): Promise<void> {
  tf.engine().startScope();
  try {
    await work();
  } finally {
    tf.engine().endScope();
  }
}

/** Pretrains `spec` as run_x of `folder`, on from its last checkpoint; stops when that many steps are known to be done. */
export async function runTo(
  spec: PretrainSpec,
  folder: string,
  computing: Computing,
  stopAtStep?: number,
): Promise<PretrainOutcome> {
  let step = -1;
  return pretrain(spec, new RunStore(new LocalBlobs(folder), "run_x"), computing, {
    cache: "/nonexistent",
    log: () => undefined,
    progress: (p) => {
      step = p.step;
    },
    stopRequested: () => (step === stopAtStep ? "shutdown" : undefined),
  });
}

/** The result of a run that came to its end. Throws where it was stopped. */
export function resultOf(outcome: PretrainOutcome): PretrainResult {
  if (!("result" in outcome)) throw new Error("stopped");
  return outcome.result;
}

/** Bytes of the last checkpoint of such a run, and its metrics. */
export function finalFiles(folder: string, { checkpoint }: PretrainResult): [Buffer, string] {
  const path = join(folder, "runs/run_x");
  return [readFileSync(join(path, "checkpoints", checkpoint.file)), readFileSync(join(path, "metrics.jsonl"), "utf8")];
}
