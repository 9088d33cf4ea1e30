/**
 * Finds the best tile for every product of a step by running each: a second or a few, once for a device. What was found is
 * kept in a file by whoever asks.
 */
import * as tf from "@tensorflow/tfjs-core";
import type { GpuBackend } from "../../backend/gpu_backend.ts";
import { type Bound, folded, launch, lineKernel, writes } from "../../backend/webgpu.ts";
import { quads } from "./access.ts";
import { matrixConfigOf } from "./matrix_product.ts";
import type { MatrixConfig } from "./subgroup_matrices.ts";
import {
  choiceOf,
  indexOf,
  type Kernel,
  kernelsFor,
  keyOf,
  kindOf,
  launchWith,
  type ProductLaunch,
  type Proof,
  type TensorCores,
  tuning,
} from "./tuned.ts";

/** Launches timed together. */
const REPEATS = 5;
/** Of the best so far: a kernel whose first launches take longer is not timed again. */
const HOPELESS = 1.5;

/** A product as it was launched. */
export interface Heard extends ProductLaunch {
  readonly half: boolean;
}

/** What `work` launches that a device is asked about. */
export interface Asked {
  readonly products: readonly Heard[];
  readonly proofs: readonly Proof[];
}

/** What `work` launches, each once. Nothing is run. */
export async function askedBy(backend: GpuBackend, work: () => void): Promise<Asked> {
  const products = new Map<string, Heard>();
  const proofs = new Map<string, Proof>();
  tuning().heard = (wanted, half) => products.set(`${half} ${keyOf(wanted)}`, { ...wanted, half });
  tuning().heardProof = (proof) => proofs.set(proof.name, proof);
  try {
    (await backend.record(work, false)).destroy();
  } finally {
    tuning().heard = undefined;
    tuning().heardProof = undefined;
  }
  return { products: [...products.values()], proofs: [...proofs.values()] };
}

/** The same product over tensors of its own, of noise: the recorded ones are gone. `empty`: of no size, to be compiled only. */
function anew(backend: GpuBackend, wanted: ProductLaunch, empty = false): ProductLaunch {
  const bind = Object.entries(wanted.bind).map(([name, bound]): [string, Bound] => {
    const { tensor, type, written } = bound;
    const half = type === "vec2u" || (type === "u32" && tensor.dtype === "float32");
    const fresh = backend.allocate(empty ? [4] : [...tensor.shape], "float32", half);
    if (!empty) backend.binding(fresh); // room of its own, not a recording's
    if (!empty && !written) noise(fresh);
    return [name, { tensor: fresh, type, written }];
  });
  return { ...wanted, bind: Object.fromEntries(bind) };
}

function free(backend: GpuBackend, { bind }: ProductLaunch): void {
  for (const { tensor } of Object.values(bind)) backend.disposeData(tensor.dataId);
}

/** Numbers in [-1, 1) by a hash of their place. */
export function noise(tensor: tf.TensorInfo): void {
  const size = tf.util.sizeFromShape(tensor.shape);
  const value = (at: string) => `(f32((${at} * 2654435761u) >> 8u) / 8388608.0 - 1.0)`;
  const inFours = size % 4 === 0;
  const { bound, code } = inFours ? quads("x", tensor, true) : { bound: writes(tensor), code: "" };
  const fours = [0, 1, 2, 3].map((i) => value(`(4u * i + ${i}u)`)).join(", ");
  const length = inFours ? size / 4 : size;
  launch({
    name: "noise",
    numbers: { length },
    bind: { x: bound },
    code: code + lineKernel("its.length", 256, inFours ? `x_set(i, vec4f(${fours}));` : `x[i] = ${value("i")};`),
    groups: folded(length, 256),
  });
}

/** Measures what is not in the tuning yet; returns how many products that were. */
export async function tuneProducts(backend: GpuBackend, products: readonly Heard[]): Promise<number> {
  const unknown = products
    .map((wanted) => ({ wanted, kernels: kernelsFor(wanted, wanted.half), key: choiceOf(wanted, wanted.half) }))
    .filter(({ kernels, key }) => !tuning().choices.has(key) && kernels.length > 1);
  // A driver takes a tenth of a second for each of hundreds, so all are compiled at once.
  const compiled = await backend.record(() => {
    for (const { wanted, kernels } of unknown) {
      for (const kernel of kernels) launchWith(anew(backend, wanted, true), kernel);
    }
  });
  compiled.destroy();
  for (const { wanted, kernels, key } of unknown) {
    const own = anew(backend, wanted);
    backend.flush();
    let best = { index: -1, time: Number.POSITIVE_INFINITY };
    for (const kernel of kernels) {
      const recording = await backend.record(() => {
        for (let i = 0; i < REPEATS; i++) launchWith(own, kernel);
      });
      const warm = await recording.time();
      if (warm < HOPELESS * best.time) {
        const time = Math.min(await recording.time(), await recording.time());
        if (time < best.time) best = { index: indexOf(kernel), time };
      }
      recording.destroy();
    }
    free(backend, own);
    tuning().choices.set(key, best.index);
  }
  return unknown.length;
}

/** Largest difference of two products that float16 explains, relative to the largest value. */
const HALF_ERROR = 4e-3;

/** Whether a product comes out the same on tensor cores, to float16. `onCores`: another one to run there, for a test. */
export async function agrees(
  backend: GpuBackend,
  wanted: ProductLaunch,
  cores: TensorCores,
  onCores = wanted,
): Promise<boolean> {
  const plain = await resultOf(backend, wanted, kernelsFor(wanted, false)[0] as Kernel);
  for (const kernel of kernelsFor(wanted, true, cores)) {
    if (!sameInHalf(await resultOf(backend, onCores, kernel), plain)) return false;
  }
  return true;
}

/** Whether nothing but float16 makes `got` differ from `expected`, which are not all 0. */
export function sameInHalf(got: Float32Array, expected: Float32Array): boolean {
  const scale = expected.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  return scale > 0 && got.every((v, i) => Math.abs(v - (expected[i] as number)) <= HALF_ERROR * scale);
}

/** A tensor's values, whatever they are stored as. */
export async function valuesOf(backend: GpuBackend, tensor: tf.TensorInfo): Promise<Float32Array> {
  const half = backend.isHalf(tensor);
  const { buffer } = backend.binding(tensor);
  const bytes = await backend.readSlice({ buffer, offset: 0, size: buffer.size });
  return half ? Float32Array.from(new Float16Array(bytes)) : new Float32Array(bytes);
}

/** What a product writes, of noise. */
async function resultOf(backend: GpuBackend, wanted: ProductLaunch, kernel: Kernel): Promise<Float32Array> {
  const own = anew(backend, wanted);
  launchWith(own, kernel);
  backend.flush();
  const { tensor } = Object.values(own.bind).find(({ written }) => written) as Bound;
  const values = await valuesOf(backend, tensor);
  free(backend, own);
  return values;
}

/** Tensor cores, where the device has them and everything that may use them comes out right on them. */
export async function provenCores(
  backend: GpuBackend,
  info: GPUAdapterInfo,
  { products, proofs }: Asked,
  log: (message: string) => void,
): Promise<TensorCores | undefined> {
  const config: MatrixConfig | undefined = matrixConfigOf(backend.device, info);
  if (!config) return undefined;
  const cores = { config, emulated: false };
  // One of each kind for each tile that may compute it; the smallest, as the proof is read back.
  const kinds = new Map<string, Heard>();
  const sizeOf = ({ rows, columns, slices }: ProductLaunch) => rows * columns * slices;
  for (const wanted of products.filter(({ half }) => half)) {
    const kind = `${kindOf(wanted)} ${kernelsFor(wanted, true, cores).map(indexOf)}`;
    const known = kinds.get(kind);
    if (!known || sizeOf(wanted) < sizeOf(known)) kinds.set(kind, wanted);
  }
  const fromProducts = [...kinds.values()].map(
    (wanted): Proof => ({ name: kindOf(wanted), prove: () => agrees(backend, wanted, cores) }),
  );
  for (const { name, prove } of [...fromProducts, ...proofs]) {
    // What the driver's compiler refuses is an internal error.
    for (const kind of ["internal", "validation"] as const) backend.device.pushErrorScope(kind);
    const right = await prove(backend, cores);
    const errors = await Promise.all([backend.device.popErrorScope(), backend.device.popErrorScope()]);
    const refused = errors.find((error) => error !== null);
    if (right && !refused) continue;
    log(`tensor cores are not used: ${name} ${refused ? `was refused: ${refused.message}` : "came out wrong on them"}`);
    return undefined;
  }
  return cores;
}
