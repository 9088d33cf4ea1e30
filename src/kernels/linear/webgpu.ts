/** Linear layers on WebGPU: the tiled product, which adds the bias and takes the GELU before it stores. */
import * as tf from "@tensorflow/tfjs-core";
import { reads, webgpu } from "../../backend/webgpu.ts";
import { registerOn, type Tensors } from "../register.ts";
import { type Access, access, vectorOf, widthOf } from "../webgpu/access.ts";
import { addChunks } from "../webgpu/chunks.ts";
import { columnSums } from "../webgpu/column_sums.ts";
import { launchMatrices } from "../webgpu/matrices.ts";
import { halfWanted } from "../webgpu/precision.ts";
import { BIAS_GRAD, LINEAR, LINEAR_INPUT_GRAD, type LinearAttrs } from "./index.ts";

/** WGSL: `normal_below(z)`, the distribution function of the normal distribution, by the erf of `wasm/assembly/functions.ts`. */
const normalBelow = (vector: string): string => {
  const horner = (coefficients: readonly number[]) =>
    coefficients.map(String).reduce((sum, c) => `((${sum}) * s + (${c}))`);
  const p = [
    -2.72614225801306e-10, 2.77068142495902e-8, -2.10102402082508e-6, -5.69250639462346e-5, -7.34990630326855e-4,
    -2.95459980854025e-3, -1.60960333262415e-2,
  ];
  const q = [
    -1.45660718464996e-5, -2.13374055278905e-4, -1.68282697438203e-3, -7.37332916720468e-3, -1.42647390514189e-2,
  ];
  return `fn normal_below(z: ${vector}) -> ${vector} {
  let x = clamp(z * ${Math.SQRT1_2}, ${vector}(-4.0), ${vector}(4.0));
  let s = x * x;
  return 0.5 + 0.5 * (x * ${horner(p)} / ${horner(q)});
}`;
};

const only = (name: string, tensor: tf.TensorInfo, width: 1 | 4): Access => ({
  bound: reads(tensor, width === 4 ? "vec4f" : "f32"),
  code: `fn ${name}_at(i: u32) -> ${vectorOf(width)} { return ${name}[i]; }`,
});

function forward(x: tf.TensorInfo, w: tf.TensorInfo, bias: tf.TensorInfo, gelu: boolean): tf.TensorInfo[] {
  const [from, to] = w.shape as [number, number];
  const width = widthOf(to);
  const shape = [...x.shape.slice(0, -1), to];
  const make = () => webgpu().allocate(shape, "float32", halfWanted(shape));
  const z = make();
  const y = gelu ? make() : undefined;
  launchMatrices({
    name: gelu ? "linear with GELU" : "linear",
    a: x,
    b: w,
    m: tf.util.sizeFromShape(x.shape) / from,
    n: to,
    inner: from,
    transposeA: false,
    transposeB: false,
    accesses: {
      bias: only("bias", bias, width),
      z: access(width, "z", z, true),
      ...(y && { y: access(width, "y", y, true) }),
    },
    functions: gelu ? normalBelow(vectorOf(width)) : "",
    store: `let sum = v + bias_at(column); z_set(at, sum); ${y ? "y_set(at, sum * normal_below(sum));" : ""}`,
  });
  return y ? [y, z] : [z];
}

/** [..., to] -> [..., from]: dz w^T, stored as activations are. */
function inputGrad(dz: tf.TensorInfo, w: tf.TensorInfo): tf.TensorInfo {
  const [from, to] = w.shape as [number, number];
  const shape = [...dz.shape.slice(0, -1), from];
  const dx = webgpu().allocate(shape, "float32", halfWanted(shape));
  launchMatrices({
    name: "linear input gradient",
    a: dz,
    b: w,
    m: tf.util.sizeFromShape(dz.shape) / to,
    n: from,
    inner: to,
    transposeA: false,
    transposeB: true,
    accesses: { dx: access(widthOf(from), "dx", dx, true) },
    store: "dx_set(at, v);",
  });
  return dx;
}

/** The sums over rows are taken of dz as it is computed. */
function biasGrad(dy: tf.TensorInfo, z: tf.TensorInfo | undefined): tf.TensorInfo[] {
  const to = dy.shape.at(-1) as number;
  const width = widthOf(to);
  const vector = vectorOf(width);
  const dz = z && webgpu().allocate(dy.shape, "float32", halfWanted(dy.shape));
  const slope = z && access(width, "z", z);
  const [dbias] = addChunks(
    "bias gradient",
    columnSums({
      name: z ? "bias and GELU gradient: sums" : "bias gradient: sums",
      accesses: {
        dy: access(width, "dy", dy),
        ...(slope && { z: { ...slope, code: `${slope.code}\n${normalBelow(vector)}` } }),
        ...(dz && { dz: access(width, "dz", dz, true) }),
      },
      groups: 1,
      rows: tf.util.sizeFromShape(dy.shape) / to,
      channels: to,
      width,
      terms: 1,
      prepare: "",
      add: z
        ? `let v = z_at(at);
      let g = dy_at(at) * (normal_below(v) + v * exp(-0.5 * v * v) * ${1 / Math.sqrt(2 * Math.PI)});
      dz_set(at, g); sums[0] += g;`
        : "sums[0] += dy_at(at);",
    }),
  ) as [tf.TensorInfo];
  return dz ? [dbias, dz] : [dbias];
}

export function registerLinearWebgpu(): void {
  const register = registerOn("webgpu");
  register(LINEAR, ({ x, w, bias }: Tensors<"x" | "w" | "bias">, attrs: LinearAttrs) =>
    forward(x, w, bias, attrs.gelu),
  );
  register(LINEAR_INPUT_GRAD, ({ dz, w }: Tensors<"dz" | "w">) => inputGrad(dz, w));
  register(BIAS_GRAD, ({ dy, z }: Tensors<"dy"> & Partial<Tensors<"z">>) => biasGrad(dy, z));
}
