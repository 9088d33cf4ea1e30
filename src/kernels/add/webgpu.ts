/** The sum of two activations or of two gradients, on WebGPU: tfjs's own does not know float16. All other sums are tfjs's. */
import * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, webgpu } from "../../backend/webgpu.ts";
import { access, join } from "../webgpu/access.ts";

function add(a: tf.TensorInfo, b: tf.TensorInfo): tf.TensorInfo {
  const fours = tf.util.sizeFromShape(a.shape) / 4;
  // Small vectors never are float16, whatever the mode: what else works on them does not know it.
  const half = webgpu().isHalf(a) || webgpu().isHalf(b);
  const sum = webgpu().allocate(a.shape, "float32", half);
  const { bind, code } = join({ a: access(4, "a", a), b: access(4, "b", b), sum: access(4, "sum", sum, true) });
  launch({
    name: "sum",
    bind,
    numbers: { ALL: fours },
    code: code + lineKernel("u32(ALL)", 256, "sum_set(i, a_at(i) + b_at(i));"),
    groups: folded(fours, 256),
  });
  return sum;
}

export function registerAddWebgpu(): void {
  const stock = tf.getKernel("Add", "webgpu");
  tf.unregisterKernel("Add", "webgpu");
  tf.registerKernel({
    kernelName: "Add",
    backendName: "webgpu",
    kernelFunc: (args) => {
      const [a, b] = [args.inputs.a, args.inputs.b] as [tf.TensorInfo, tf.TensorInfo];
      const same = tf.util.arraysEqual(a.shape, b.shape) && a.dtype === "float32" && b.dtype === "float32";
      return same && tf.util.sizeFromShape(a.shape) % 4 === 0 ? add(a, b) : stock.kernelFunc(args);
    },
  });
}
