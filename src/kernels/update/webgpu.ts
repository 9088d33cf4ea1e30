/**
 * What a step does behind the gradients, on WebGPU, over flat buffers: optimisers, momentum update, running statistics, the
 * queue. The formulas are those of `optim/`, `methods/moco.ts` and `engine/threads/update.ts`, in float32. Nothing here is
 * differentiated, so these are no kernels of tfjs. What changes from step to step is read from buffers: the launches are
 * recorded once.
 */
import type * as tf from "@tensorflow/tfjs-core";
import { type Bound, folded, launch, lineKernel, reads, webgpu, writes } from "../../backend/webgpu.ts";

/** A tensor begins at a multiple of so many floats: WebGPU's 256 bytes. Such a block is of one tensor alone. */
export const BLOCK = 64;

/** Floats of a step: the learning rate, AdamW's two corrections. */
export const SCALARS = 4;

export interface Flat {
  /** f32[P] of each; `second` only where there is one. */
  readonly params: tf.Tensor;
  readonly gradient: tf.Tensor;
  readonly first: tf.Tensor;
  readonly second: tf.Tensor | undefined;
  /** f32[SCALARS] */
  readonly scalars: tf.Tensor;
  /** f32[P / BLOCK]: factor of the rate. */
  readonly rates: tf.Tensor;
}

export interface UpdateSettings {
  readonly algorithm: "sgd" | "lars" | "adamw";
  readonly momentum: number;
  readonly beta2: number;
  readonly weightDecay: number;
}

/** Tensors in the flat buffers, for LARS: where each begins, its floats, and whether it is decayed and scaled. */
export interface Segments {
  /** i32[T, 3] */
  readonly table: tf.Tensor;
  /** i32[P / BLOCK] */
  readonly ofBlock: tf.Tensor;
}

/** One step of the optimiser over all parameters. */
export function launchUpdate(flat: Flat, segments: Segments, s: UpdateSettings): void {
  const { params, gradient, first, second, scalars, rates } = flat;
  const size = params.size;
  const bind: Record<string, Bound> = {
    params: writes(params),
    gradient: reads(gradient),
    first: writes(first),
    scalars: reads(scalars),
    rates: reads(rates),
  };
  const numbers = { size, momentumF: s.momentum, decayF: s.weightDecay, betaF: s.beta2 };
  const rate = `let lr = scalars[0] * rates[i / ${BLOCK}u]; let p = params[i]; let g = gradient[i];`;
  const run = (name: string, code: string, more: Record<string, Bound> = {}) =>
    launch({
      name,
      numbers,
      bind: { ...bind, ...more },
      code: lineKernel("its.size", 256, `${rate} ${code}`),
      groups: folded(size, 256),
    });
  if (s.algorithm === "adamw") {
    run(
      "AdamW",
      `let m = its.momentumF * first[i] + (1.0 - its.momentumF) * g;
  let v = its.betaF * second[i] + (1.0 - its.betaF) * g * g;
  first[i] = m;
  second[i] = v;
  params[i] = p * (1.0 - lr * its.decayF) - lr / scalars[1] * m / (sqrt(v) / scalars[2] + 1e-8);`,
      { second: writes(second as tf.Tensor) },
    );
    return;
  }
  if (s.algorithm === "sgd") {
    run("SGD", "let v = its.momentumF * first[i] + g + its.decayF * p; first[i] = v; params[i] = p - lr * v;");
    return;
  }
  const trust = larsTrust(params, gradient, segments, s);
  run(
    "LARS",
    `let segment = u32(segments[i / ${BLOCK}u]);
  let decay = select(0.0, its.decayF, trust[2u * segment + 1u] != 0.0);
  let v = its.momentumF * first[i] + trust[2u * segment] * (g + decay * p);
  first[i] = v;
  params[i] = p - lr * v;`,
    { trust: reads(trust), segments: reads(segments.ofBlock, "i32") },
  );
  webgpu().disposeData(trust.dataId);
}

/** f32[T, 2]: each tensor's factor, and whether it is decayed. A workgroup adds up one tensor. */
function larsTrust(params: tf.Tensor, gradient: tf.Tensor, { table }: Segments, s: UpdateSettings): tf.TensorInfo {
  const count = table.shape[0] as number;
  const trust = webgpu().allocate([count, 2]);
  launch({
    name: "LARS: trust",
    numbers: { decayF: s.weightDecay },
    bind: { params: reads(params), gradient: reads(gradient), table: reads(table, "i32"), trust: writes(trust) },
    code: `
var<workgroup> sums: array<vec2f, 256>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let begin = u32(table[group.x * 3u]);
  let end = begin + u32(table[group.x * 3u + 1u]);
  let scaled = table[group.x * 3u + 2u] != 0;
  var sum = vec2f();
  for (var i = begin + local; i < end; i += 256u) {
    let u = gradient[i] + its.decayF * params[i];
    sum += vec2f(params[i] * params[i], u * u);
  }
  sums[local] = sum;
  for (var half = 128u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { sums[local] += sums[local + half]; }
  }
  if (local > 0u) { return; }
  let length = sqrt(sums[0]);
  var factor = 1.0;
  if (scaled && length.x > 0.0 && length.y > 0.0) { factor = 0.001 * length.x / length.y; }
  trust[group.x * 2u] = factor;
  trust[group.x * 2u + 1u] = select(0.0, 1.0, scaled);
}`,
    groups: [count],
  });
  return trust;
}

/** k = m*k + (1-m)*q over flat buffers. */
export function launchMomentum(k: tf.Tensor, q: tf.Tensor, m: number): void {
  launch({
    name: "momentum update",
    numbers: { size: k.size, mF: m, restF: 1 - m },
    bind: { k: writes(k), q: reads(q) },
    code: lineKernel("its.size", 256, "k[i] = its.mF * k[i] + its.restF * q[i];"),
    groups: folded(k.size, 256),
  });
}

/** Tensors of one launch of `launchGather`: what is bound at once is limited. */
const GATHERED = 6;

/**
 * Copies tensors to their places, in floats, in a flat buffer, times `factor`; several to a launch. `more`: adds them to what
 * is there.
 */
export function launchGather(
  parts: readonly { tensor: tf.Tensor; offset: number }[],
  to: tf.Tensor,
  factor = 1,
  more = false,
): void {
  for (let first = 0; first < parts.length; first += GATHERED) {
    const some = parts.slice(first, first + GATHERED);
    const sizes = some.map(({ tensor }) => tensor.size);
    const ends = sizes.map((_, i) => sizes.slice(0, i + 1).reduce((a, b) => a + b));
    const numbers = Object.fromEntries(
      some.flatMap(({ offset }, i) => [
        [`end${i}`, ends[i] as number],
        [`offset${i}`, offset],
      ]),
    );
    const branches = some.map((_, i) => {
      const begin = i === 0 ? "0u" : `its.end${i - 1}`;
      const value = `part${i}[i - ${begin}] * its.factorF`;
      return `if (i < its.end${i}) { whole[its.offset${i} + i - ${begin}] ${more ? "+=" : "="} ${value}; return; }`;
    });
    launch({
      name: "gather",
      numbers: { ...numbers, factorF: factor },
      bind: {
        ...Object.fromEntries(some.map(({ tensor }, i) => [`part${i}`, reads(tensor)])),
        whole: writes(to),
      },
      code: lineKernel(`its.end${some.length - 1}`, 256, branches.join("\n  ")),
      groups: folded(ends.at(-1) as number, 256),
    });
  }
}

/**
 * running = 0.9 * running + 0.1 * mean over splits of the split's statistic, the encoder seeing one direction after the other.
 * mean, variance f32[directions * groups, C], biased; running ones f32[C]; `rows`: of one split. Where the groups are a part
 * of the splits, those of before are in `running` already unless they are the first.
 */
export function launchRunning(
  batch: { mean: tf.Tensor; variance: tf.Tensor },
  running: { mean: tf.Tensor; variance: tf.Tensor },
  of: { directions: number; groups: number; splits: number; rows: number; first: boolean },
): void {
  const { directions, groups, splits, rows, first } = of;
  const c = running.mean.size;
  const one = (name: string, factor: string) => `
  var ${name} = running_${name}[i];
  for (var direction = 0u; direction < its.directions; direction++) {
    var ${name}_sum = 0.0;
    for (var group = 0u; group < its.groups; group++) {
      ${name}_sum += ${name}s[(direction * its.groups + group) * its.c + i];
    }
    ${name} = its.keptF * ${name} + 0.1 * ${name}_sum / f32(its.splits)${factor};
  }
  running_${name}[i] = ${name};`;
  launch({
    name: "running statistics",
    numbers: { c, directions, groups, splits, unbiasF: rows / (rows - 1), keptF: first ? 0.9 : 1 },
    bind: {
      means: reads(batch.mean),
      variances: reads(batch.variance),
      running_mean: writes(running.mean),
      running_variance: writes(running.variance),
    },
    code: lineKernel("its.c", 64, `${one("mean", "")}${one("variance", " * its.unbiasF")}`),
    groups: folded(c, 64),
  });
}

/** Rows of f32[R, C] to or from places: to[places[i] % rows(to)] = from[i] (`scatter`), or to[i] = from[places[i]]. */
export function launchRows(kind: "scatter" | "gather", from: tf.Tensor, places: tf.Tensor, to: tf.Tensor): void {
  const c = from.shape[1] as number;
  const rows = places.size;
  const line =
    kind === "scatter"
      ? "after[place * its.c + i % its.c] = before[i];"
      : "after[i] = before[place * its.c + i % its.c];";
  launch({
    name: `${kind} rows`,
    numbers: { c, rows },
    bind: { before: reads(from), places: reads(places, "i32"), after: writes(to) },
    code: lineKernel("its.rows * its.c", 64, `let place = u32(places[i / its.c]); ${line}`),
    groups: folded(rows * c, 64),
  });
}

/**
 * FIFO: keys f32[D*N, C] of images ids i32[N] over the oldest rows of the queue, the last direction first. counters i32[..]:
 * the first is the queue's pointer.
 */
export function launchEnqueue(
  queue: { keys: tf.Tensor; ids: tf.Tensor },
  keys: tf.Tensor,
  ids: tf.Tensor,
  counters: tf.Tensor,
  directions: number,
): void {
  const [rows, c] = keys.shape as [number, number];
  launch({
    name: "enqueue",
    numbers: { rows, c, n: rows / directions, capacity: queue.ids.size, directions },
    bind: {
      keys: reads(keys),
      ids: reads(ids, "i32"),
      counters: reads(counters, "i32"),
      queue: writes(queue.keys),
      queueIds: writes(queue.ids, "i32"),
    },
    code: lineKernel(
      "its.rows * its.c",
      64,
      `let row = i / its.c;
  let direction = its.directions - 1u - row / its.n;
  let slot = (u32(counters[0]) + row) % its.capacity;
  queue[slot * its.c + i % its.c] = keys[(direction * its.n + row % its.n) * its.c + i % its.c];
  if (i % its.c == 0u) { queueIds[slot] = ids[row % its.n]; }`,
    ),
    groups: folded(rows * c, 64),
  });
}

/**
 * Keeps a step's loss, times `factor`, and its three metrics, times `share`, in row counters[1] of a ring f32[.., 4]. `more`:
 * adds them to what is there.
 */
export function launchLog(
  { loss, metrics }: { loss: tf.Tensor; metrics: tf.Tensor },
  ring: tf.Tensor,
  counters: tf.Tensor,
  { factor, share, more }: { factor: number; share: number; more: boolean },
): void {
  launch({
    name: "log",
    numbers: { factorF: factor, shareF: share },
    bind: { loss: reads(loss), metrics: reads(metrics), counters: reads(counters, "i32"), ring: writes(ring) },
    code: lineKernel(
      4,
      4,
      `var v = loss[0] * its.factorF;
  if (i > 0u) { v = metrics[i - 1u] * its.shareF; }
  ring[u32(counters[1]) * 4u + i] ${more ? "+=" : "="} v;`,
    ),
    groups: [1],
  });
}
