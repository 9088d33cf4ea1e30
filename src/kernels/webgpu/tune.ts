/**
 * Finds the best tile for every product of a step by running each: a second or a few, once for a device. What was found is
 * kept in a file by whoever asks.
 */
import * as tf from "@tensorflow/tfjs-core";
import type { GpuBackend } from "../../backend/gpu_backend.ts";
import { type Bound, folded, launch, lineKernel, writes } from "../../backend/webgpu.ts";
import { quads } from "./access.ts";
import { type MatrixConfig, matrixConfigOf } from "./matrix_product.ts";
import { type Tile, tiles } from "./product.ts";
import { candidates, keyOf, launchWith, type ProductLaunch, type TensorCores, tuning } from "./tuned.ts";

/** Launches timed together. */
const REPEATS = 5;

/** The products that `work` launches, each once. Nothing is run. */
export async function productsOf(backend: GpuBackend, work: () => void): Promise<ProductLaunch[]> {
  const heard = new Map<string, ProductLaunch>();
  tuning.heard = (wanted) => heard.set(keyOf(wanted), wanted);
  try {
    (await backend.record(work, false)).destroy();
  } finally {
    tuning.heard = undefined;
  }
  return [...heard.values()];
}

/** The same product over tensors of its own: the recorded ones are gone. `fill`: with noise. */
function anew(backend: GpuBackend, wanted: ProductLaunch, fill: boolean): ProductLaunch {
  const bind = Object.entries(wanted.bind).map(([name, bound]): [string, Bound] => {
    const { tensor, type, written } = bound;
    const half = type === "vec2u" || (type === "u32" && tensor.dtype === "float32");
    const fresh = backend.allocate([...tensor.shape], "float32", half);
    if (fill && !written) noise(fresh);
    return [name, { tensor: fresh, type, written }];
  });
  return { ...wanted, bind: Object.fromEntries(bind) };
}

/** Numbers in [-1, 1) by a hash of their place. */
function noise(tensor: tf.TensorInfo): void {
  const size = tf.util.sizeFromShape(tensor.shape);
  const value = (at: string) => `(f32((${at} * 2654435761u) >> 8u) / 8388608.0 - 1.0)`;
  const { bound, code } = quads("x", tensor, true);
  if (size % 4 === 0) {
    const four = [0, 1, 2, 3].map((i) => value(`(4u * i + ${i}u)`));
    launch({
      name: "noise",
      bind: { x: bound },
      code: code + lineKernel(size / 4, 256, `x_set(i, vec4f(${four.join(", ")}));`),
      groups: folded(size / 4, 256),
    });
    return;
  }
  launch({
    name: "noise",
    bind: { x: writes(tensor) },
    code: lineKernel(size, 256, `x[i] = ${value("i")};`),
    groups: folded(size, 256),
  });
}

/** Measures what is not in `tuning.choices` yet; returns how many products that were. */
export async function tuneProducts(backend: GpuBackend, products: readonly ProductLaunch[]): Promise<number> {
  const unknown = products.filter((wanted) => !tuning.choices.has(keyOf(wanted)) && candidates(wanted).length > 1);
  for (const wanted of unknown) {
    const times: { tile: Tile; time: number }[] = [];
    for (const tile of candidates(wanted)) {
      const recording = await backend.record(() => {
        const own = anew(backend, wanted, false);
        for (let i = 0; i < REPEATS; i++) launchWith(own, tile);
      });
      await recording.time(); // warms up
      times.push({ tile, time: Math.min(await recording.time(), await recording.time()) });
      recording.destroy();
    }
    const best = times.reduce((a, b) => (b.time < a.time ? b : a));
    tuning.choices.set(keyOf(wanted), tiles.indexOf(best.tile));
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
  const plain = await resultOf(backend, wanted, candidates(wanted)[0] as Tile);
  const got = await resultOf(backend, onCores, cores);
  const scale = plain.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  return scale > 0 && got.every((v, i) => Math.abs(v - (plain[i] as number)) <= HALF_ERROR * scale);
}

/**
 * What a product writes, of noise. Without the sums for batch norm: the blocks of tiles are twice as high as those of tensor
 * cores, which would write beyond the room that there is for the other's.
 */
async function resultOf(backend: GpuBackend, wanted: ProductLaunch, kernel: Tile | TensorCores): Promise<Float32Array> {
  const own = anew(backend, wanted, true);
  const { keep: _, ...product } = own.product;
  launchWith({ ...own, product }, kernel);
  backend.flush();
  const { tensor, type } = Object.values(own.bind).find(({ written }) => written) as Bound;
  const { buffer } = backend.binding(tensor);
  const bytes = await backend.readSlice({ buffer, offset: 0, size: buffer.size });
  for (const bound of Object.values(own.bind)) backend.disposeData(bound.tensor.dataId);
  return type === "vec2u" ? Float32Array.from(new Float16Array(bytes)) : new Float32Array(bytes);
}

/** Tensor cores, where the device has them and every kind of product comes out right on them. */
export async function provenCores(
  backend: GpuBackend,
  info: GPUAdapterInfo,
  products: readonly ProductLaunch[],
  log: (message: string) => void,
): Promise<TensorCores | undefined> {
  const config: MatrixConfig | undefined = matrixConfigOf(backend.device, info);
  if (!config) return undefined;
  const cores = { config, emulated: false };
  // One of each kind; the smallest, as the proof is read back.
  const kinds = new Map<string, ProductLaunch>();
  const sizeOf = ({ rows, columns, slices }: ProductLaunch) => rows * columns * slices;
  for (const wanted of products) {
    const known = kinds.get(wanted.name);
    if (!known || sizeOf(wanted) < sizeOf(known)) kinds.set(wanted.name, wanted);
  }
  for (const [name, wanted] of kinds) {
    backend.device.pushErrorScope("validation");
    const right = await agrees(backend, wanted, cores);
    const refused = await backend.device.popErrorScope();
    if (right && !refused) continue;
    log(`tensor cores are not used: ${name} ${refused ? `was refused: ${refused.message}` : "came out wrong on them"}`);
    return undefined;
  }
  return cores;
}
