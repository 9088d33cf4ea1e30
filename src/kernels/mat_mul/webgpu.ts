/** Matrix products of rank 2 on WebGPU by the tiled product; higher ranks stay with tfjs. */
import * as tf from "@tensorflow/tfjs-core";
import { webgpu } from "../../backend/webgpu.ts";
import { access, widthOf } from "../webgpu/access.ts";
import { launchMatrices } from "../webgpu/matrices.ts";
import { slicesOf, sumSlices } from "../webgpu/slices.ts";

interface Attrs {
  transposeA: boolean;
  transposeB: boolean;
}

function product(a: tf.TensorInfo, b: tf.TensorInfo, { transposeA, transposeB }: Attrs): tf.TensorInfo {
  const [m, inner] = (transposeA ? [a.shape[1], a.shape[0]] : a.shape) as [number, number];
  const n = (transposeB ? b.shape[0] : b.shape[1]) as number;
  const slices = slicesOf(m, n, inner);
  const out = webgpu().allocate(slices === 1 ? [m, n] : [slices, m, n]);
  launchMatrices({
    name: "product",
    a,
    b,
    m,
    n,
    inner,
    transposeA,
    transposeB,
    slices,
    accesses: { out: access(widthOf(n), "out", out, true) },
    store: "out_set(at, v);",
  });
  if (slices === 1) return out;
  const sum = sumSlices(out, [m, n]);
  webgpu().disposeData(out.dataId);
  return sum;
}

export function registerMatMulWebgpu(): void {
  const stock = tf.getKernel("BatchMatMul", "webgpu");
  tf.unregisterKernel("BatchMatMul", "webgpu");
  tf.registerKernel({
    kernelName: "BatchMatMul",
    backendName: "webgpu",
    kernelFunc: (args) => {
      const { a, b } = args.inputs as { a: tf.TensorInfo; b: tf.TensorInfo };
      const ours = a.shape.length === 2 && b.shape.length === 2;
      return ours ? product(a, b, args.attrs as unknown as Attrs) : stock.kernelFunc(args);
    },
  });
}
