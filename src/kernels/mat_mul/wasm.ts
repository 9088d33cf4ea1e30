/**
 * Matrix products on WASM by the convolution kernels: a product is a 1x1 convolution over rows, and a product with
 * the first factor transposed is its filter gradient. tfjs's own drops to about 1 GFLOP/s when a factor is
 * transposed, as it is in q.queue^T and in every gradient. Higher ranks stay with tfjs.
 */
import * as tf from "@tensorflow/tfjs-core";
import { allocate, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { via } from "../profile.ts";

interface Attrs {
  transposeA: boolean;
  transposeB: boolean;
}

/** Of two matrices. */
export function product(a: tf.TensorInfo, b: tf.TensorInfo, { transposeA, transposeB }: Attrs): tf.TensorInfo {
  const { kernels } = wasmDevice();
  const [m, inner] = (transposeA ? [a.shape[1], a.shape[0]] : a.shape) as [number, number];
  const n = (transposeB ? b.shape[0] : b.shape[1]) as number;
  const out = allocate([m, n]);
  // Geometry of a 1x1 convolution over an image of 1 x rows: n, h, w, ci, oh, ow, co, kh, kw, stride, pads, span.
  const geometry = (rows: number, ci: number) => [1, 1, rows, ci, 1, rows, n, 1, 1, 1, 0, 0, ci];
  if (transposeA) {
    withScratch(kernels.gradScratchBytes(1, m, n), (scratch) =>
      kernels.conv2dFilterGrad(pointer(a), pointer(b), pointer(out), scratch, ...geometry(inner, m)),
    );
    return out;
  }
  withScratch(Math.ceil(n / 8) * 8 * inner * 4, (packed) =>
    withScratch(kernels.scratchBytes(1, inner), (scratch) => {
      if (transposeB) kernels.packPanelsTransposed(pointer(b), packed, 1, n, inner);
      else kernels.packPanels(pointer(b), packed, 1, inner, n);
      kernels.conv2d(pointer(a), packed, pointer(out), scratch, ...geometry(m, inner));
    }),
  );
  return out;
}

export function registerMatMulWasm(): void {
  const stock = tf.getKernel("BatchMatMul", "wasm");
  tf.unregisterKernel("BatchMatMul", "wasm");
  tf.registerKernel({
    kernelName: "BatchMatMul",
    backendName: "wasm",
    kernelFunc: (args) => {
      const { a, b } = args.inputs as { a: tf.TensorInfo; b: tf.TensorInfo };
      const attrs = args.attrs as unknown as Attrs;
      const ours = a.shape.length === 2 && b.shape.length === 2 && !(attrs.transposeA && attrs.transposeB);
      if (ours) return product(a, b, attrs);
      via("stock tfjs");
      return stock.kernelFunc(args);
    },
  });
}
