/**
 * What a ResNet needs besides its own kernels, on WebGPU: the sum of two gradients and the mean over an image's places.
 * tfjs's own do not know float16, and its mean has one thread walk a whole image. All else stays with tfjs.
 */
import * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, webgpu } from "../../backend/webgpu.ts";
import { access, join, vectorOf } from "../webgpu/access.ts";
import { halfWanted } from "../webgpu/precision.ts";

function add(a: tf.TensorInfo, b: tf.TensorInfo): tf.TensorInfo {
  const size = tf.util.sizeFromShape(a.shape);
  const sum = webgpu().allocate(a.shape, "float32", halfWanted(a.shape));
  const { bind, code } = join({ a: access(4, "a", a), b: access(4, "b", b), sum: access(4, "sum", sum, true) });
  launch({
    name: "sum of gradients",
    bind,
    code: code + lineKernel(size / 4, 256, "sum_set(i, a_at(i) + b_at(i));"),
    groups: folded(size / 4, 256),
  });
  return sum;
}

/** x [N,H,W,C] -> f32[N,C] */
function meanOfPlaces(x: tf.TensorInfo, shape: number[]): tf.TensorInfo {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  const width = c % 4 === 0 ? 4 : 1;
  const vectors = c / width;
  const mean = webgpu().allocate(shape);
  const { bind, code } = join({ x: access(width, "x", x), mean: access(width, "mean", mean, true) });
  launch({
    name: "mean of places",
    bind,
    code:
      code +
      lineKernel(
        n * vectors,
        64,
        `var sum = ${vectorOf(width)}();
  for (var place = 0u; place < ${h * w}u; place++) {
    sum += x_at((i / ${vectors}u * ${h * w}u + place) * ${vectors}u + i % ${vectors}u);
  }
  mean_set(i, sum / ${h * w}.0);`,
      ),
    groups: folded(n * vectors, 64),
  });
  return mean;
}

export function registerElementwiseWebgpu(): void {
  const instead = (name: string, ours: (args: Parameters<tf.KernelFunc>[0]) => tf.TensorInfo | undefined) => {
    const stock = tf.getKernel(name, "webgpu");
    tf.unregisterKernel(name, "webgpu");
    tf.registerKernel({
      kernelName: name,
      backendName: "webgpu",
      kernelFunc: (args) => ours(args) ?? stock.kernelFunc(args),
    });
  };
  instead("Add", ({ inputs }) => {
    const [a, b] = [inputs.a, inputs.b] as [tf.TensorInfo, tf.TensorInfo];
    const same = tf.util.arraysEqual(a.shape, b.shape) && a.dtype === "float32" && b.dtype === "float32";
    return same && tf.util.sizeFromShape(a.shape) % 4 === 0 && a.shape.length === 4 ? add(a, b) : undefined;
  });
  instead("Mean", ({ inputs, attrs }) => {
    const { axis, keepDims } = attrs as unknown as { axis: number | number[]; keepDims: boolean };
    const x = inputs.x as tf.TensorInfo;
    const places = x.shape.length === 4 && [axis].flat().join() === "1,2";
    if (!places) return undefined;
    const [n, , , c] = x.shape as [number, number, number, number];
    return meanOfPlaces(x, keepDims ? [n, 1, 1, c] : [n, c]);
  });
}
