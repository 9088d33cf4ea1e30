/** The tiled product of two matrices on WebGPU, with whatever is done to its results before they are stored. */
import type * as tf from "@tensorflow/tfjs-core";
import { type Access, access, join, vectorOf, widthOf } from "./access.ts";
import { type Operand, SLAB } from "./product.ts";
import { launchProduct } from "./tuned.ts";

/** C[m,n] = A[m,inner] B[inner,n]; a transposed factor lies in memory with its axes exchanged. */
export interface MatrixProduct {
  readonly name: string;
  readonly a: tf.TensorInfo;
  readonly b: tf.TensorInfo;
  readonly m: number;
  readonly n: number;
  readonly inner: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** The sums over k are cut into so many, each of which is stored where the one before it ends. Unset: 1. */
  readonly slices?: number;
  /** What `store` reads and writes besides, by `widthOf(n)` values at a time. */
  readonly accesses: Readonly<Record<string, Access>>;
  /** WGSL functions that `store` calls. */
  readonly functions?: string;
  /**
   * WGSL: stores `v`, `widthOf(n)` values of C; `at` is their place in C, or of all slices' C's, and `column` in a row, both in
   * such vectors.
   */
  readonly store: string;
}

/** Element (outer, k) of a matrix lies at outer * `across` + k, or, where `kFirst`, at k * `across` + outer. */
function operand(p: "a" | "b", across: number, kFirst: boolean): { operand: Operand; width: 1 | 4 } {
  const outer = p === "a" ? "u32(M)" : "u32(N)";
  const width = widthOf(across);
  const at = kFirst ? `k * ${outer} + u32(o.x)` : "u32(o.x) * u32(K) + k";
  const guard = `u32(o.x) < ${outer} && k < u32(K)`;
  const load =
    width === 4
      ? `fn ${p}_load(o: vec4i, k: u32) -> vec4f { if (${guard}) { return ${p}_at((${at}) / 4u); } return vec4f(); }
fn ${p}_load_halves(o: vec4i, k: u32) -> vec2u { if (${guard}) { return ${p}_halves((${at}) / 4u); } return vec2u(); }`
      : `fn ${p}_load(o: vec4i, k: u32) -> f32 { if (${guard}) { return ${p}_at(${at}); } return 0.0; }`;
  return {
    width,
    operand: {
      along: kFirst && width === 4 ? "outer" : "k",
      inFours: width === 4,
      code: `fn ${p}_outer(outer: u32) -> vec4i { return vec4i(i32(outer), 0, 0, 0); }
${load}`,
    },
  };
}

export function launchMatrices(of: MatrixProduct): void {
  const { name, m, n, inner, transposeA, transposeB, slices = 1 } = of;
  const [left, right] = [
    operand("a", transposeA ? m : inner, transposeA),
    operand("b", transposeB ? inner : n, !transposeB),
  ];
  const width = widthOf(n);
  const { bind, code } = join({
    a: access(left.width, "a", of.a),
    b: access(right.width, "b", of.b),
    ...of.accesses,
  });
  const store = `fn store_vector(at: u32, column: u32, v: ${vectorOf(width)}) { ${of.store} }`;
  const each = "for (var i = 0u; i < min(4u, u32(N) - column); i++) { store_vector(at + i, column + i, v[i]); }";
  launchProduct({
    name,
    numbers: { M: m, N: n, K: inner, LENGTH: Math.ceil(inner / slices / SLAB) * SLAB },
    bind,
    head: `${code}\n${of.functions ?? ""}\n${store}`,
    rows: m,
    columns: n,
    inner: inner / slices,
    slices,
    product: {
      a: left.operand,
      b: right.operand,
      store: `fn store(row: u32, column: u32, v: vec4f) {
  if (row >= u32(M) || column >= u32(N)) { return; }
  let at = (slice * u32(M) + row) * u32(N) + column;
  ${width === 4 ? "store_vector(at / 4u, column / 4u, v);" : each}
}`,
      range:
        "fn range(z: u32) -> vec2u { return vec2u(min(u32(K), z * u32(LENGTH)), min(u32(K), (z + 1u) * u32(LENGTH))); }",
    },
  });
}
