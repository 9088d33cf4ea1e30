/** Batch normalisation on WebGPU; the meaning and the gradient are in `index.ts`. Groups of rows are normalised apart. */
import * as tf from "@tensorflow/tfjs-core";
import { type Bound, folded, launch, lineKernel, reads, webgpu, writes } from "../../backend/webgpu.ts";
import { registerOn } from "../register.ts";
import { access, join, vectorOf, widthOf } from "../webgpu/access.ts";
import { columnSums } from "../webgpu/column_sums.ts";
import { halfWanted } from "../webgpu/precision.ts";
import { momentsOf, takeStatistics } from "../webgpu/statistics.ts";
import { GRAD, NORMALISE, type NormAttrs, statsShape, TRAIN } from "./names.ts";

type Inputs = Record<string, tf.TensorInfo>;

/** Sizes as the kernels see them; vectors of `width` channels. */
function sizesOf(x: tf.TensorInfo, groups: number) {
  const c = x.shape.at(-1) as number;
  const width = widthOf(c);
  const rows = tf.util.sizeFromShape(x.shape) / c;
  return {
    c,
    width,
    groups,
    rows: rows / groups,
    vectors: c / width,
    all: (rows * c) / width,
    vector: vectorOf(width),
  };
}
type Sizes = ReturnType<typeof sizesOf>;

const element = ({ width }: Sizes) => (width === 4 ? "vec4f" : "f32");

/**
 * Sums are taken of what is left of x when its group's first row is taken away: of x itself the squares would leave no
 * digits where the mean is large against the deviation.
 */
function moments(x: tf.TensorInfo, s: Sizes): [mean: tf.TensorInfo, variance: tf.TensorInfo] {
  const [mean, variance] = [webgpu().allocate(statsShape(s.groups, s.c)), webgpu().allocate(statsShape(s.groups, s.c))];
  const taken = takeStatistics(x);
  if (taken) {
    momentsOf(taken, s.groups, [mean, variance]);
    return [mean, variance];
  }
  const from = access(s.width, "x", x);
  const { parts, chunks } = columnSums({
    ...{
      name: "batch norm: sums",
      accesses: { x: from },
      groups: s.groups,
      rows: s.rows,
      channels: s.c,
      width: s.width,
    },
    terms: 2,
    prepare: "let first = x_at(at);",
    add: "let v = x_at(at) - first; sums[0] += v; sums[1] += v * v;",
  });
  const { bind, code } = join({ x: from });
  launch({
    name: "batch norm: moments",
    bind: {
      x: { ...(bind.x as Bound), bytes: 4 * s.groups * s.c }, // a row of each group
      parts: reads(parts, element(s)),
      mean: writes(mean, element(s)),
      variance: writes(variance, element(s)),
    },
    code:
      code +
      lineKernel(
        s.groups * s.vectors,
        64,
        `let group = i / ${s.vectors}u;
  let c = i % ${s.vectors}u;
  var sum = ${s.vector}();
  var square = ${s.vector}();
  for (var chunk = 0u; chunk < ${chunks}u; chunk++) {
    sum += parts[(group * ${chunks}u + chunk) * ${2 * s.vectors}u + c];
    square += parts[(group * ${chunks}u + chunk) * ${2 * s.vectors}u + ${s.vectors}u + c];
  }
  let by = sum / ${s.rows}.0;
  mean[i] = x_at(group * ${s.rows * s.vectors}u + c) + by;
  variance[i] = max(square / ${s.rows}.0 - by * by, ${s.vector}());`,
      ),
    groups: folded(s.groups * s.vectors, 64),
  });
  webgpu().disposeData(parts.dataId);
  return [mean, variance];
}

function apply(i: Inputs, mean: tf.TensorInfo, variance: tf.TensorInfo, s: Sizes, attrs: NormAttrs): tf.TensorInfo {
  const x = i.x as tf.TensorInfo;
  const y = webgpu().allocate(x.shape, "float32", halfWanted(x.shape));
  const { bind, code } = join({
    x: access(s.width, "x", x),
    y: access(s.width, "y", y, true),
    ...(i.residual && { residual: access(s.width, "residual", i.residual) }),
  });
  const perChannel = { gamma: i.gamma, beta: i.beta, mean, variance } as Record<string, tf.TensorInfo>;
  launch({
    name: "batch norm",
    numbers: { VECTORS: s.vectors, ROWS: s.rows, ALL: s.all },
    bind: {
      ...bind,
      ...Object.fromEntries(Object.entries(perChannel).map(([name, tensor]) => [name, reads(tensor, element(s))])),
    },
    code:
      code +
      lineKernel(
        "u32(ALL)",
        256,
        `let c = i % u32(VECTORS);
  let g = i / u32(ROWS) / u32(VECTORS) * u32(VECTORS) + c;
  var v = (x_at(i) - mean[g]) * (gamma[c] / sqrt(variance[g] + ${attrs.epsilon})) + beta[c];
  ${i.residual ? "v += residual_at(i);" : ""}
  y_set(i, ${attrs.relu ? `max(v, ${s.vector}())` : "v"});`,
      ),
    groups: folded(s.all, 256),
  });
  return y;
}

/** Of a workgroup: vectors of channels, groups at a time, and threads that share the chunks of one. */
const PARAMETERS = { across: 4, at: 8, sharers: 8 } as const;

/** Adds up the chunks of every group, in a fixed order, to the parameters' gradients and to what dx is made of. */
function parametersCode(s: Sizes, epsilon: number): string {
  const { across, at, sharers } = PARAMETERS;
  const threads = across * at * sharers;
  return `
var<workgroup> plains: array<${s.vector}, ${threads}>;
var<workgroup> scaleds: array<${s.vector}, ${threads}>;
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let all = u32(GROUPS * VECTORS);
  let c = id.x * ${across}u + local % ${across}u;
  let sharer = local / ${across * at}u;
  var toGamma = ${s.vector}();
  var toBeta = ${s.vector}();
  for (var begin = 0u; begin < u32(GROUPS); begin += ${at}u) {
    let group = begin + local / ${across}u % ${at}u;
    let inside = c < u32(VECTORS) && group < u32(GROUPS);
    var plain = ${s.vector}();
    var scaled = ${s.vector}();
    if (inside) {
      for (var chunk = sharer; chunk < u32(CHUNKS); chunk += ${sharers}u) {
        let part = (group * u32(CHUNKS) + chunk) * u32(2 * VECTORS) + c;
        plain += parts[part];
        scaled += parts[part + u32(VECTORS)];
      }
    }
    plains[local] = plain;
    scaleds[local] = scaled;
    for (var half = ${threads / 2}u; half >= ${across * at}u; half /= 2u) {
      workgroupBarrier();
      if (local < half) { plains[local] += plains[local + half]; scaleds[local] += scaleds[local + half]; }
    }
    workgroupBarrier();
    if (inside && sharer == 0u) {
      let g = group * u32(VECTORS) + c;
      let inverse = 1.0 / sqrt(variance[g] + ${epsilon});
      let scale = gamma[c] * inverse;
      factors[g] = scale;
      factors[all + g] = scale * plains[local] / f32(ROWS);
      factors[2u * all + g] = mean[g];
      factors[3u * all + g] = scale * inverse * scaleds[local] / f32(ROWS);
    }
    if (local < ${across}u) {
      for (var n = 0u; n < ${at}u; n++) { toBeta += plains[local + n * ${across}u]; toGamma += scaleds[local + n * ${across}u]; }
    }
    workgroupBarrier();
  }
  if (local < ${across}u && c < u32(VECTORS)) {
    dgamma[c] = toGamma;
    dbeta[c] = toBeta;
  }
}`;
}

function gradient(i: Inputs, attrs: NormAttrs): tf.TensorInfo[] {
  const [x, y, dy] = [i.x, i.y, i.dy] as [tf.TensorInfo, tf.TensorInfo, tf.TensorInfo];
  const s = sizesOf(x, attrs.groups);
  const e = element(s);
  const stats = { mean: reads(i.mean as tf.TensorInfo, e), variance: reads(i.variance as tf.TensorInfo, e) };
  const accesses = {
    x: access(s.width, "x", x),
    dy: access(s.width, "dy", dy),
    ...(attrs.relu && { y: access(s.width, "y", y) }),
  };
  const statsAccess = Object.fromEntries(Object.entries(stats).map(([name, bound]) => [name, { bound, code: "" }]));
  const arriving = attrs.relu ? `select(${s.vector}(), dy_at(at), y_at(at) > ${s.vector}())` : "dy_at(at)";
  const normalised = `(x_at(at) - m) * inverse`;
  const ofGroup = `let g = group * u32(VECTORS) + c;
    let m = mean[g]; let inverse = 1.0 / sqrt(variance[g] + ${attrs.epsilon});`;
  const { parts, chunks } = columnSums({
    name: "batch norm gradient: sums",
    accesses: { ...accesses, ...statsAccess },
    groups: s.groups,
    rows: s.rows,
    channels: s.c,
    width: s.width,
    terms: 2,
    prepare: ofGroup,
    add: `let d = ${arriving}; sums[0] += d; sums[1] += d * ${normalised};`,
  });
  const [dgamma, dbeta] = [webgpu().allocate([s.c]), webgpu().allocate([s.c])];
  // dx = scale * dy - pull - (x - mean) * lean: of each channel of a group these four.
  const factors = webgpu().allocate([4, s.groups, s.c]);
  const gamma = reads(i.gamma as tf.TensorInfo, e);
  launch({
    name: "batch norm gradient: parameters",
    bind: {
      parts: reads(parts, e),
      gamma,
      ...stats,
      dgamma: writes(dgamma, e),
      dbeta: writes(dbeta, e),
      factors: writes(factors, e),
    },
    numbers: { VECTORS: s.vectors, CHUNKS: chunks, GROUPS: s.groups, ROWS: s.rows },
    code: parametersCode(s, attrs.epsilon),
    groups: [Math.ceil(s.vectors / PARAMETERS.across)],
  });
  const half = halfWanted(x.shape);
  const dx = webgpu().allocate(x.shape, "float32", half);
  const dResidual = attrs.residual ? webgpu().allocate(x.shape, "float32", half) : undefined;
  const { bind, code } = join({
    ...accesses,
    dx: access(s.width, "dx", dx, true),
    ...(dResidual && { dResidual: access(s.width, "dResidual", dResidual, true) }),
  });
  launch({
    name: "batch norm gradient",
    bind: { ...bind, factors: reads(factors, e) },
    numbers: { VECTORS: s.vectors, ROWS: s.rows, ALL: s.all, STATS: s.groups * s.vectors },
    code:
      code +
      lineKernel(
        "u32(ALL)",
        256,
        `let at = i;
  let g = i / u32(ROWS) / u32(VECTORS) * u32(VECTORS) + i % u32(VECTORS);
  let all = u32(STATS);
  let d = ${arriving};
  dx_set(i, factors[g] * d - factors[all + g] - (x_at(i) - factors[2u * all + g]) * factors[3u * all + g]);
  ${dResidual ? "dResidual_set(i, d);" : ""}`,
      ),
    groups: folded(s.all, 256),
  });
  for (const { dataId } of [parts, factors]) webgpu().disposeData(dataId);
  return dResidual ? [dx, dgamma, dbeta, dResidual] : [dx, dgamma, dbeta];
}

export function registerBatchNormWebgpu(): void {
  const register = registerOn("webgpu")<Inputs, NormAttrs>;
  register(TRAIN, (i, attrs) => {
    const s = sizesOf(i.x as tf.TensorInfo, attrs.groups);
    const [mean, variance] = moments(i.x as tf.TensorInfo, s);
    return [apply(i, mean, variance, s, attrs), mean, variance];
  });
  register(NORMALISE, (i, attrs) => {
    const s = sizesOf(i.x as tf.TensorInfo, 1);
    return apply(i, i.mean as tf.TensorInfo, i.variance as tf.TensorInfo, s, attrs);
  });
  register(GRAD, gradient);
}
