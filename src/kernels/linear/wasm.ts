/** Linear layers on WASM: the convolutions' product, a block of rows at a time, and what follows it while the block is cached. */
import * as tf from "@tensorflow/tfjs-core";
import { allocate, pointer, wasmDevice, withScratch } from "../../backend/wasm.ts";
import { withDerived } from "../derived.ts";
import { product } from "../mat_mul/wasm.ts";
import { registerOn, type Tensors } from "../register.ts";
import { BIAS_GRAD, LINEAR, LINEAR_INPUT_GRAD, type LinearAttrs } from "./index.ts";

/** Floats of a block of results: half of a second-level cache, with the GELU's. */
const BLOCK = 16_384;

function forward(x: tf.TensorInfo, w: tf.TensorInfo, bias: tf.TensorInfo, gelu: boolean): tf.TensorInfo[] {
  const { kernels } = wasmDevice();
  const [from, to] = w.shape as [number, number];
  const rows = tf.util.sizeFromShape(x.shape) / from;
  const shape = [...x.shape.slice(0, -1), to];
  const z = allocate(shape);
  const y = gelu ? allocate(shape) : undefined;
  const block = Math.max(16, 2 * Math.floor(BLOCK / to / 2));
  withDerived(
    w,
    "panels",
    Math.ceil(to / 8) * 8 * from * 4,
    (packed) => kernels.packPanels(pointer(w), packed, 1, from, to),
    (packed) =>
      withScratch(kernels.scratchBytes(1, from), (scratch) => {
        const at = { x: pointer(x), z: pointer(z), y: y ? pointer(y) : 0, bias: pointer(bias) };
        for (let row = 0; row < rows; row += block) {
          const count = Math.min(block, rows - row);
          const here = at.z + row * to * 4;
          // A 1x1 convolution over an image of 1 x count: n, h, w, ci, oh, ow, co, kh, kw, stride, pads, span.
          const geometry = [1, 1, count, from, 1, count, to, 1, 1, 1, 0, 0, from];
          kernels.conv2d(at.x + row * from * 4, packed, here, scratch, ...geometry);
          kernels.addBias(here, at.bias, y ? at.y + row * to * 4 : 0, count, to);
        }
      }),
  );
  return y ? [y, z] : [z];
}

function biasGrad(dy: tf.TensorInfo, z: tf.TensorInfo | undefined): tf.TensorInfo[] {
  const to = dy.shape.at(-1) as number;
  const rows = tf.util.sizeFromShape(dy.shape) / to;
  const dbias = allocate([to]);
  const dz = z && allocate(dy.shape);
  withScratch(to * 12, (scratch) => {
    const at = [z ? pointer(z) : 0, pointer(dy), dz ? pointer(dz) : 0, pointer(dbias)];
    wasmDevice().kernels.biasGrad(...at, scratch, rows, to);
  });
  return dz ? [dbias, dz] : [dbias];
}

export function registerLinearWasm(): void {
  const register = registerOn("wasm");
  register(LINEAR, ({ x, w, bias }: Tensors<"x" | "w" | "bias">, attrs: LinearAttrs) =>
    forward(x, w, bias, attrs.gelu),
  );
  register(LINEAR_INPUT_GRAD, ({ dz, w }: Tensors<"dz" | "w">) => {
    const [from, to] = w.shape as [number, number];
    const rows = { ...dz, shape: [tf.util.sizeFromShape(dz.shape) / to, to] };
    const dx = product(rows, w, { transposeA: false, transposeB: true });
    return { ...dx, shape: [...dz.shape.slice(0, -1), from] };
  });
  register(BIAS_GRAD, ({ dy, z }: Tensors<"dy"> & Partial<Tensors<"z">>) => biasGrad(dy, z));
}
