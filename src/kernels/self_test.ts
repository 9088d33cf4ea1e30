/** Whether the device in use computes rightly, and how fast: some seconds of its own kernels. */
import * as tf from "@tensorflow/tfjs-core";
import type { GpuBackend } from "../backend/gpu_backend.ts";
import { Stream } from "../util/random.ts";
import { conv2dGradReference, conv2dReference, type Geometry } from "./conv2d/reference.ts";

export interface SelfTest {
  /** Largest error of a convolution and its gradients, relative to the largest value in float64. */
  readonly error: number;
  /** Whether that is what float32 leaves. */
  readonly right: boolean;
  /** 1e9 multiplications and additions a second, of a product of matrices. */
  readonly gflops: number;
  /** 1e9 bytes a second, read and written, of the sum of two vectors. */
  readonly gigabytes: number;
}

/** Winograd's transforms leave 1e-5. */
const ALLOWED = 2e-5;

function noise(length: number, salt: number): Float32Array {
  const stream = new Stream(salt, "probe", length);
  return Float32Array.from({ length }, () => stream.normal());
}

function errorOf(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [error, scale] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    const off = Math.abs((got[i] as number) - (expected[i] as number));
    error = Number.isFinite(off) ? Math.max(error, off) : Number.POSITIVE_INFINITY;
    scale = Math.max(scale, Math.abs(expected[i] as number));
  }
  return error / scale;
}

async function worstError(): Promise<number> {
  let worst = 0;
  for (const g of [
    { n: 2, h: 13, w: 11, ci: 16, co: 24, kh: 3, kw: 3, stride: 1, pad: 1 },
    { n: 2, h: 9, w: 12, ci: 3, co: 5, kh: 3, kw: 3, stride: 2, pad: 1 },
  ] satisfies Geometry[]) {
    const [oh, ow] = [Math.floor((g.h - 1) / g.stride) + 1, Math.floor((g.w - 1) / g.stride) + 1];
    const [x, f, dy] = [noise(g.n * g.h * g.w * g.ci, 1), noise(9 * g.ci * g.co, 2), noise(g.n * oh * ow * g.co, 3)];
    const tensors = tf.tidy(() => {
      const [xt, ft] = [tf.tensor4d(x, [g.n, g.h, g.w, g.ci]), tf.tensor4d(f, [3, 3, g.ci, g.co])];
      const back = tf.grads((a, b) => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, g.stride, g.pad));
      return [tf.conv2d(xt, ft, g.stride, g.pad), ...back([xt, ft], tf.tensor4d(dy, [g.n, oh, ow, g.co]))];
    });
    const [y, dx, df] = (await Promise.all(tensors.map((t) => t.data()))) as [Float32Array, Float32Array, Float32Array];
    tf.dispose(tensors);
    const expected = conv2dGradReference(g, x, f, dy);
    worst = Math.max(
      worst,
      errorOf(y, conv2dReference(g, x, f)),
      errorOf(dx, expected.dx),
      errorOf(df, expected.dfilter),
    );
  }
  return worst;
}

/** Seconds of one `work`, repeated for about `seconds`, on tfjs's present backend. */
async function timed(work: () => void, seconds: number, gpu: GpuBackend | undefined): Promise<number> {
  const recording = await gpu?.record(work);
  const repeat = async (times: number) => {
    const start = performance.now();
    if (gpu && recording) {
      const encoder = gpu.device.createCommandEncoder();
      for (let i = 0; i < times; i++) recording.encode(encoder);
      gpu.device.queue.submit([encoder.finish()]);
      await gpu.device.queue.onSubmittedWorkDone();
    } else for (let i = 0; i < times; i++) tf.tidy(() => void work());
    return (performance.now() - start) / 1000;
  };
  let times = 1;
  let took = await repeat(1); // compiles
  for (took = await repeat(1); took < seconds / 4; took = await repeat(times)) times *= 2;
  recording?.destroy();
  gpu?.check();
  return took / times;
}

/** On tfjs's present backend; `gpu` where that is WebGPU. Takes up to ten seconds. */
export async function selfTest(gpu: GpuBackend | undefined, software: boolean): Promise<SelfTest> {
  const error = await worstError();
  const [side, length] = gpu && !software ? [4096, 2 ** 26] : [512, 2 ** 22];
  const [a, b] = [tf.ones([side, side]), tf.ones([side, side])] as [tf.Tensor2D, tf.Tensor2D];
  const [u, v] = [tf.ones([length]), tf.ones([length])];
  if (gpu) await Promise.all([tf.add(a, b), tf.add(u, v)].map((t) => t.data())); // they are on the device from here on
  const product = await timed(() => tf.matMul(a, b), 3, gpu);
  const sum = await timed(() => tf.add(u, v), 3, gpu);
  tf.dispose([a, b, u, v]);
  return {
    error,
    right: error < ALLOWED,
    gflops: (2 * side ** 3) / product / 1e9,
    gigabytes: (12 * length) / sum / 1e9,
  };
}
