/** Matrix products of rank 2 on WebGPU by the tiled product; higher ranks stay with tfjs. */
import * as tf from "@tensorflow/tfjs-core";
import { webgpu } from "../../backend/webgpu.ts";
import { access, join } from "../webgpu/access.ts";
import type { Operand } from "../webgpu/product.ts";
import { launchProduct } from "../webgpu/tuned.ts";

interface Attrs {
  transposeA: boolean;
  transposeB: boolean;
}

/** Element (outer, k) of a matrix lies at outer * `across` + k, or, where `kFirst`, at k * `across` + outer. */
function operand(p: "a" | "b", across: number, kFirst: boolean): { operand: Operand; width: 1 | 4 } {
  const outer = p === "a" ? "u32(M)" : "u32(N)";
  const width = across % 4 === 0 ? 4 : 1;
  const at = kFirst ? `k * ${outer} + u32(o.x)` : "u32(o.x) * u32(K) + k";
  const guard = `u32(o.x) < ${outer} && k < u32(K)`;
  const load =
    width === 4
      ? `-> vec4f { if (${guard}) { return ${p}_at((${at}) / 4u); } return vec4f(); }`
      : `-> f32 { if (${guard}) { return ${p}_at(${at}); } return 0.0; }`;
  return {
    width,
    operand: {
      along: kFirst && width === 4 ? "outer" : "k",
      inFours: width === 4,
      code: `fn ${p}_outer(outer: u32) -> vec4i { return vec4i(i32(outer), 0, 0, 0); }
fn ${p}_load(o: vec4i, k: u32) ${load}`,
    },
  };
}

function product(a: tf.TensorInfo, b: tf.TensorInfo, { transposeA, transposeB }: Attrs): tf.TensorInfo {
  const [m, inner] = (transposeA ? [a.shape[1], a.shape[0]] : a.shape) as [number, number];
  const n = (transposeB ? b.shape[0] : b.shape[1]) as number;
  const out = webgpu().allocate([m, n]);
  const [left, right] = [
    operand("a", transposeA ? m : inner, transposeA),
    operand("b", transposeB ? inner : n, !transposeB),
  ];
  const width = n % 4 === 0 ? 4 : 1;
  const { bind, code } = join({
    a: access(left.width, "a", a),
    b: access(right.width, "b", b),
    out: access(width, "out", out, true),
  });
  const each = `for (var i = 0u; i < min(4u, u32(N) - column); i++) { out_set(row * u32(N) + column + i, v[i]); }`;
  launchProduct({
    name: "product",
    numbers: { M: m, N: n, K: inner },
    bind,
    head: code,
    rows: m,
    columns: n,
    inner,
    slices: 1,
    product: {
      a: left.operand,
      b: right.operand,
      store: `fn store(row: u32, column: u32, v: vec4f) {
  if (row >= u32(M) || column >= u32(N)) { return; }
  ${width === 4 ? `out_set((row * u32(N) + column) / 4u, v);` : each}
}`,
      range: `fn range(z: u32) -> vec2u { return vec2u(0u, u32(K)); }`,
    },
  });
  return out;
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
