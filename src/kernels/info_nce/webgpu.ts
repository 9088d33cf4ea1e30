/**
 * InfoNCE on WebGPU; the meaning is in `index.ts`. The logits are never there as a whole: tiles of them are computed to
 * find each query's largest and the sum of exponentials, and once more for the gradient (as in Dao et al. 2022).
 */
import * as tf from "@tensorflow/tfjs-core";
import { type Bound, folded, launch, lineKernel, reads, webgpu, writes } from "../../backend/webgpu.ts";
import { sumSlices } from "../webgpu/slices.ts";
import { INFO_NCE, type InfoNceAttrs } from "./index.ts";

/**
 * Queries and keys of a tile. Four of a workgroup's 64 threads are a query's, each with EACH keys. What they share stays below
 * the 16 KB that WebGPU grants everywhere.
 */
const [TILE, KEYS] = [16, 8];
const EACH = KEYS / 4;
/** Dimensions that are in shared memory at a time. */
const SPAN = 128;
/** Keys of a slice at the least, and workgroups to aim at. */
const [SHORTEST, WORKGROUPS] = [128, 512];

interface Sizes {
  n: number;
  c: number;
  keys: number;
  slices: number;
  /** Keys of a slice. */
  length: number;
  temperature: number;
}

function sizesOf(n: number, c: number, keys: number, temperature: number): Sizes {
  const wanted = Math.min(Math.ceil(keys / SHORTEST), Math.ceil(WORKGROUPS / Math.ceil(n / TILE)));
  const length = Math.ceil(keys / wanted / TILE) * TILE;
  return { n, c, keys, length, slices: Math.ceil(keys / length), temperature };
}

/** In WGSL: `its`. */
const numbersOf = ({ n, c, keys, slices, length, temperature }: Sizes) => ({
  n,
  c,
  keys,
  slices,
  length,
  inverseF: 1 / temperature,
});

/** WGSL: loads spans of queries and of keys into shared memory; 0 beyond the edges. */
const tileCode = `
const FOURS = ${SPAN / 4}u;
var<workgroup> qs: array<vec4f, ${TILE * (SPAN / 4 + 1)}>;
var<workgroup> ks: array<vec4f, ${KEYS * (SPAN / 4 + 1)}>;
fn q_four(row: u32, d: u32) -> vec4f {
  var v = vec4f();
  for (var e = 0u; e < 4u; e++) { if (row < its.n && d + e < its.c) { v[e] = q[row * its.c + d + e]; } }
  return v;
}
fn key_four(row: u32, d: u32) -> vec4f {
  var v = vec4f();
  for (var e = 0u; e < 4u; e++) { if (row < its.keys && d + e < its.c) { v[e] = queue[row * its.c + d + e]; } }
  return v;
}
// Padded rows: neighbours read neighbouring banks.
fn load_queries(first: u32, begin: u32, local: u32) {
  for (var e = local; e < ${TILE}u * FOURS; e += 64u) {
    qs[e / FOURS * (FOURS + 1u) + e % FOURS] = q_four(first + e / FOURS, begin + e % FOURS * 4u);
  }
}
fn load_keys(first: u32, begin: u32, local: u32) {
  for (var e = local; e < ${KEYS}u * FOURS; e += 64u) {
    ks[e / FOURS * (FOURS + 1u) + e % FOURS] = key_four(first + e / FOURS, begin + e % FOURS * 4u);
  }
}
/** Cosines of this thread's query with its own keys of the tile at firstKey. */
fn cosines(firstQuery: u32, firstKey: u32, local: u32) -> array<f32, ${EACH}> {
  var sum = array<f32, ${EACH}>();
  for (var begin = 0u; begin < its.c; begin += ${SPAN}u) {
    workgroupBarrier();
    load_queries(firstQuery, begin, local);
    load_keys(firstKey, begin, local);
    workgroupBarrier();
    for (var d = 0u; d < FOURS; d++) {
      let a = qs[local % ${TILE}u * (FOURS + 1u) + d];
      for (var e = 0u; e < ${EACH}u; e++) { sum[e] += dot(a, ks[(local / ${TILE}u * ${EACH}u + e) * (FOURS + 1u) + d]); }
    }
  }
  return sum;
}
fn last_key(z: u32) -> u32 { return min(its.keys, (z + 1u) * its.length); }`;

/** Whether a key counts among the negatives of a query. */
const countsCode = (masked: boolean) => `
fn counts(query: u32, key: u32) -> bool { return ${masked ? "queueIds[key] != ids[query]" : "true"}; }`;

type Inputs = Record<"q" | "k" | "queue", tf.TensorInfo> & { ids?: tf.TensorInfo; queueIds?: tf.TensorInfo };

/** Of each query and slice: the largest logit, the sum of exponentials below it, the sum of cosines. f32[slices, N, 3] */
function reduce(i: Inputs, s: Sizes, images: Record<string, Bound>): tf.TensorInfo {
  const parts = webgpu().allocate([s.slices, s.n, 3]);
  launch({
    name: "InfoNCE: sums",
    numbers: numbersOf(s),
    bind: { q: reads(i.q), queue: reads(i.queue), ...images, parts: writes(parts) },
    code: `${tileCode}${countsCode(i.ids !== undefined)}
var<workgroup> most: array<f32, 64>;
var<workgroup> sums: array<f32, 64>;
var<workgroup> totals: array<f32, 64>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let query = group.x * ${TILE}u + local % ${TILE}u;
  var largest = -3e38;
  var sum = 0.0;
  var total = 0.0;
  let last = last_key(group.y);
  for (var first = group.y * its.length; first < last; first += ${KEYS}u) {
    var cosine = cosines(group.x * ${TILE}u, first, local);
    for (var e = 0u; e < ${EACH}u; e++) {
      let key = first + local / ${TILE}u * ${EACH}u + e;
      if (key >= last || query >= its.n) { continue; }
      total += cosine[e];
      if (!counts(query, key)) { continue; }
      let logit = cosine[e] * its.inverseF;
      if (logit > largest) { sum *= exp(largest - logit); largest = logit; }
      sum += exp(logit - largest);
    }
  }
  most[local] = largest;
  sums[local] = sum;
  totals[local] = total;
  workgroupBarrier();
  if (local < ${TILE}u && query < its.n) {
    for (var e = 1u; e < 4u; e++) { largest = max(largest, most[local + e * ${TILE}u]); }
    sum = 0.0;
    total = 0.0;
    for (var e = 0u; e < 4u; e++) {
      sum += sums[local + e * ${TILE}u] * exp(most[local + e * ${TILE}u] - largest);
      total += totals[local + e * ${TILE}u];
    }
    let at = (group.y * its.n + query) * 3u;
    parts[at] = largest;
    parts[at + 1u] = sum;
    parts[at + 2u] = total;
  }
}`,
    groups: [Math.ceil(s.n / TILE), s.slices, 1],
    flops: 2 * s.n * s.keys * s.c,
  });
  return parts;
}

/** Of each query: the largest logit, the sum of exponentials, that of the queue alone; loss, top-1, positive, negative. */
function combine(i: Inputs, s: Sizes, parts: tf.TensorInfo): tf.TensorInfo {
  const rows = webgpu().allocate([s.n, 7]);
  launch({
    name: "InfoNCE: queries",
    numbers: numbersOf(s),
    bind: { q: reads(i.q), k: reads(i.k), parts: reads(parts), rows: writes(rows) },
    code: lineKernel(
      "its.n",
      64,
      `var positive = 0.0;
  for (var d = 0u; d < its.c; d++) { positive += q[i * its.c + d] * k[i * its.c + d]; }
  let own = positive * its.inverseF;
  var most = own;
  for (var e = 0u; e < its.slices; e++) { most = max(most, parts[(e * its.n + i) * 3u]); }
  var others = 0.0;
  var total = 0.0;
  for (var e = 0u; e < its.slices; e++) {
    let at = (e * its.n + i) * 3u;
    others += parts[at + 1u] * exp(parts[at] - most);
    total += parts[at + 2u];
  }
  let sum = others + exp(own - most);
  rows[i * 7u] = most;
  rows[i * 7u + 1u] = sum;
  rows[i * 7u + 2u] = others;
  rows[i * 7u + 3u] = log(sum) + most - own;
  rows[i * 7u + 4u] = select(0.0, 1.0, most == own);
  rows[i * 7u + 5u] = positive;
  rows[i * 7u + 6u] = total / f32(its.keys);`,
    ),
    groups: folded(s.n, 64),
  });
  return rows;
}

/** Means over the queries, in one workgroup: the loss, and the other three. */
function means(rows: tf.TensorInfo, n: number): [loss: tf.TensorInfo, metrics: tf.TensorInfo] {
  const [loss, metrics] = [webgpu().allocate([]), webgpu().allocate([3])];
  launch({
    name: "InfoNCE: means",
    numbers: { n },
    bind: { rows: reads(rows), loss: writes(loss), metrics: writes(metrics) },
    code: `
var<workgroup> sums: array<vec4f, 64>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) local: u32) {
  var sum = vec4f();
  for (var i = local; i < its.n; i += 64u) {
    sum += vec4f(rows[i * 7u + 3u], rows[i * 7u + 4u], rows[i * 7u + 5u], rows[i * 7u + 6u]);
  }
  sums[local] = sum;
  workgroupBarrier();
  if (local > 0u) { return; }
  for (var i = 1u; i < 64u; i++) { sum += sums[i]; }
  sum /= f32(its.n);
  loss[0] = sum.x;
  metrics[0] = sum.y;
  metrics[1] = sum.z;
  metrics[2] = sum.w;
}`,
    groups: [1],
  });
  return [loss, metrics];
}

/** f32[N,C]: d(mean loss) / dq */
function gradient(i: Inputs, s: Sizes, images: Record<string, Bound>, rows: tf.TensorInfo): tf.TensorInfo {
  const parts = webgpu().allocate([s.slices, s.n, s.c]);
  const spans = Math.ceil(s.c / SPAN);
  const held = SPAN / 16;
  launch({
    name: "InfoNCE: gradient",
    numbers: numbersOf(s),
    bind: { q: reads(i.q), queue: reads(i.queue), ...images, rows: reads(rows), parts: writes(parts) },
    code: `${tileCode}${countsCode(i.ids !== undefined)}
var<workgroup> ps: array<f32, ${TILE * KEYS}>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let query = group.x * ${TILE}u + local % ${TILE}u;
  let quarter = local / ${TILE}u;
  var most = 0.0;
  var sum = 1.0;
  if (query < its.n) { most = rows[query * 7u]; sum = rows[query * 7u + 1u]; }
  var pull = array<vec4f, ${held}>();
  let last = last_key(group.y);
  for (var first = group.y * its.length; first < last; first += ${KEYS}u) {
    var cosine = cosines(group.x * ${TILE}u, first, local);
    for (var e = 0u; e < ${EACH}u; e++) {
      let key = first + quarter * ${EACH}u + e;
      var p = 0.0;
      if (key < last && query < its.n) {
        if (counts(query, key)) { p = exp(cosine[e] * its.inverseF - most) / sum; }
      }
      ps[(quarter * ${EACH}u + e) * ${TILE}u + local % ${TILE}u] = p;
    }
    workgroupBarrier();
    ${spans === 1 ? "" : `load_keys(first, group.z * ${SPAN}u, local); workgroupBarrier();`}
    for (var key = 0u; key < ${KEYS}u; key++) {
      let p = ps[key * ${TILE}u + local % ${TILE}u];
      for (var d = 0u; d < ${held}u; d++) { pull[d] += p * ks[key * (FOURS + 1u) + d * 4u + quarter]; }
    }
  }
  if (query >= its.n) { return; }
  for (var d = 0u; d < ${held}u; d++) {
    for (var e = 0u; e < 4u; e++) {
      let c = group.z * ${SPAN}u + (d * 4u + quarter) * 4u + e;
      if (c < its.c) { parts[(group.y * its.n + query) * its.c + c] = pull[d][e]; }
    }
  }
}`,
    groups: [Math.ceil(s.n / TILE), s.slices, spans],
    flops: 4 * s.n * s.keys * s.c,
  });
  const toQueue = sumSlices(parts, [s.n, s.c]);
  const dq = webgpu().allocate([s.n, s.c]);
  launch({
    name: "InfoNCE: gradient of queries",
    numbers: numbersOf(s),
    bind: { k: reads(i.k), rows: reads(rows), toQueue: reads(toQueue), dq: writes(dq) },
    // Away from the key by 1 - p of it, which is what the queue has: near 1 the difference would keep no digits.
    code: lineKernel(
      "its.n * its.c",
      64,
      `let row = i / its.c * 7u;
  dq[i] = (toQueue[i] - rows[row + 2u] / rows[row + 1u] * k[i]) * its.inverseF / f32(its.n);`,
    ),
    groups: folded(s.n * s.c, 64),
  });
  for (const { dataId } of [parts, toQueue]) webgpu().disposeData(dataId);
  return dq;
}

export function registerInfoNceWebgpu(): void {
  tf.registerKernel({
    kernelName: INFO_NCE,
    backendName: "webgpu",
    kernelFunc: ({ inputs, attrs }) => {
      const i = inputs as unknown as Inputs;
      const [n, c] = i.q.shape as [number, number];
      const s = sizesOf(n, c, i.queue.shape[0] as number, (attrs as unknown as InfoNceAttrs).temperature);
      const images: Record<string, Bound> =
        i.ids && i.queueIds ? { ids: reads(i.ids, "i32"), queueIds: reads(i.queueIds, "i32") } : {};
      const parts = reduce(i, s, images);
      const rows = combine(i, s, parts);
      const [loss, metrics] = means(rows, n);
      const dq = gradient(i, s, images, rows);
      for (const { dataId } of [parts, rows]) webgpu().disposeData(dataId);
      return [loss, metrics, dq];
    },
  });
}
