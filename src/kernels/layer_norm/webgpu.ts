/** Layer norm on WebGPU: sixteen threads a row; the meaning and the gradient are in `index.ts`. */
import * as tf from "@tensorflow/tfjs-core";
import { folded, launch, reads, webgpu, writes } from "../../backend/webgpu.ts";
import { registerOn, type Tensors } from "../register.ts";
import { access, join, vectorOf, widthOf } from "../webgpu/access.ts";
import { addChunks } from "../webgpu/chunks.ts";
import { columnSums } from "../webgpu/column_sums.ts";
import { halfWanted } from "../webgpu/precision.ts";
import { LAYER_NORM, LAYER_NORM_GRAD, type LayerNormAttrs } from "./index.ts";

const THREADS = 64;
/** Threads of a row: few, as they wait for each other at every halving of its sum. */
const SHARERS = 16;
const ROWS_OF_GROUP = THREADS / SHARERS;

function sizesOf(x: tf.TensorInfo) {
  const c = x.shape.at(-1) as number;
  const width = widthOf(c);
  const element = (width === 4 ? "vec4f" : "f32") as "f32";
  return { c, width, element, rows: tf.util.sizeFromShape(x.shape) / c, vectors: c / width, vector: vectorOf(width) };
}

/** WGSL of a sum over the row: `each` at the vector `at`, whose place in the row is `j`; `name` is its mean over C. */
const meanOf = (name: string, width: 1 | 4, vector: string, each: string): string => `
  var ${name}_sum = ${vector}();
  for (var j = sharer; j < u32(VECTORS); j += ${SHARERS}u) { let at = row * u32(VECTORS) + j; ${name}_sum += ${each}; }
  workgroupBarrier();
  shared_[local] = ${width === 4 ? `dot(${name}_sum, vec4f(1.0))` : `${name}_sum`};
  for (var half = ${SHARERS / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (sharer < half) { shared_[local] += shared_[local + half]; }
  }
  workgroupBarrier();
  let ${name} = shared_[local - sharer] / f32(CHANNELS);`;

/** WGSL: `body` for the row `row`, whose threads are told apart by `sharer`, and `write` where there is such a row. */
const rowKernel = (body: string, write: string): string => `
var<workgroup> shared_: array<f32, ${THREADS}>;
@compute @workgroup_size(${THREADS})
fn main(
  @builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let sharer = local % ${SHARERS}u;
  let whole = (workgroup.y * workgroups.x + workgroup.x) * ${ROWS_OF_GROUP}u + local / ${SHARERS}u;
  // All threads meet at the barriers, those of no row over the last one.
  let row = min(whole, u32(ROWS) - 1u);
  ${body}
  if (whole < u32(ROWS)) { ${write} }
}`;

function forward({ x, gamma, beta }: Tensors<"x" | "gamma" | "beta">, { epsilon }: LayerNormAttrs): tf.TensorInfo[] {
  const { c, width, rows, vectors, vector, element } = sizesOf(x);
  const y = webgpu().allocate(x.shape, "float32", halfWanted(x.shape));
  const stats = webgpu().allocate([rows, 2]);
  const { bind, code } = join({ x: access(width, "x", x), y: access(width, "y", y, true) });
  launch({
    name: "layer norm",
    numbers: { ROWS: rows, VECTORS: vectors, CHANNELS: c, epsilonF: epsilon },
    bind: {
      ...bind,
      gamma: reads(gamma, element),
      beta: reads(beta, element),
      stats: writes(stats),
    },
    code:
      code +
      rowKernel(
        `${meanOf("mean", width, vector, "x_at(at)")}
  ${meanOf("variance", width, vector, "(x_at(at) - mean) * (x_at(at) - mean)")}
  let inverse = 1.0 / sqrt(variance + its.epsilonF);`,
        `
  for (var j = sharer; j < u32(VECTORS); j += ${SHARERS}u) {
    let at = row * u32(VECTORS) + j;
    y_set(at, (x_at(at) - mean) * inverse * gamma[j] + beta[j]);
  }
  if (sharer == 0u) { stats[2u * row] = mean; stats[2u * row + 1u] = inverse; }`,
      ),
    groups: folded(rows, ROWS_OF_GROUP),
  });
  return [y, stats];
}

function gradient({ x, gamma, stats, dy }: Tensors<"x" | "gamma" | "stats" | "dy">): tf.TensorInfo[] {
  const { c, width, rows, vectors, vector, element } = sizesOf(x);
  const accesses = { x: access(width, "x", x), dy: access(width, "dy", dy) };
  const [dgamma, dbeta] = addChunks(
    "layer norm gradient: parameters",
    columnSums({
      name: "layer norm gradient: sums",
      accesses: { ...accesses, stats: { bound: reads(stats), code: "" } },
      groups: 1,
      rows,
      channels: c,
      width,
      terms: 2,
      prepare: "",
      add: `let stat = 2u * (at / u32(VECTORS)); let d = dy_at(at);
      sums[0] += d * (x_at(at) - stats[stat]) * stats[stat + 1u]; sums[1] += d;`,
    }),
  ) as [tf.TensorInfo, tf.TensorInfo];
  const dx = webgpu().allocate(x.shape, "float32", halfWanted(x.shape));
  const { bind, code } = join({ ...accesses, dx: access(width, "dx", dx, true) });
  const xhat = "(x_at(at) - mean) * inverse";
  launch({
    name: "layer norm gradient",
    numbers: { ROWS: rows, VECTORS: vectors, CHANNELS: c },
    bind: { ...bind, gamma: reads(gamma, element), stats: reads(stats) },
    code:
      code +
      rowKernel(
        `let mean = stats[2u * row]; let inverse = stats[2u * row + 1u];
  ${meanOf("mean_g", width, vector, "dy_at(at) * gamma[j]")}
  ${meanOf("mean_x", width, vector, `dy_at(at) * gamma[j] * ${xhat}`)}`,
        `
  for (var j = sharer; j < u32(VECTORS); j += ${SHARERS}u) {
    let at = row * u32(VECTORS) + j;
    dx_set(at, inverse * (dy_at(at) * gamma[j] - mean_g - ${xhat} * mean_x));
  }`,
      ),
    groups: folded(rows, ROWS_OF_GROUP),
  });
  return [dx, dgamma, dbeta];
}

export function registerLayerNormWebgpu(): void {
  const register = registerOn("webgpu");
  register(LAYER_NORM, forward);
  register(LAYER_NORM_GRAD, gradient);
}
