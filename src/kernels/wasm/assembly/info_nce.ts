// InfoNCE with its gradient (van den Oord et al. 2018; MoCo eq. 1). The logits are stored once, as they turn into
// probabilities in place: [N,K] is written by one product and read by the other.
//
// Layouts: q, k f32[N,C], queue f32[K,C], mask f32[N,K].

import { panelWidth, product } from "./gemm";

// @ts-ignore: AssemblyScript decorator
@inline
function even(n: i32): i32 {
  return (n + 1) & ~1;
}

// @ts-ignore: AssemblyScript decorator
@inline
function eights(n: i32): i32 {
  return (n + 7) & ~7;
}

/** Bytes of the queue in panels, by keys and by dimensions. */
export function queuePanelBytes(keys: i32, c: i32): i32 {
  return (eights(keys) * even(c) + even(keys) * eights(c)) * 4;
}

// panels f32[inner2, width] of `columns` columns: element (i, j) is at from + i * rowStep + j * columnStep; else zero.
function pack(
  from: usize, to: usize, inner: i32, inner2: i32, columns: i32, rowStep: usize, columnStep: usize,
): void {
  const whole = eights(columns);
  for (let start = 0; start < whole; ) {
    const stop = start + panelWidth(whole, start);
    for (let i = 0; i < inner2; i++) {
      for (let j = start; j < stop; j++) {
        const there = i < inner && j < columns;
        store<f32>(to, there ? load<f32>(from + <usize>i * rowStep + <usize>j * columnStep) : 0);
        to += 4;
      }
    }
    start = stop;
  }
}

/** Panels of the queue, queuePanelBytes(keys, c). */
export function packQueue(queue: usize, panels: usize, keys: i32, c: i32): void {
  const row = <usize>c << 2;
  pack(queue, panels, c, even(c), keys, 4, row);
  pack(queue, panels + (<usize>(eights(keys) * even(c)) << 2), keys, even(keys), c, row, 4);
}

/** Bytes of scratch of `infoNce`. */
export function infoNceScratchBytes(n: i32, keys: i32, c: i32): i32 {
  return even(n) * (even(c) + eights(keys) + 16 + eights(c)) * 4 + 64;
}

// e^x of four numbers, each at most 0: to 1e-7 relative, 0 below -87 (the range reduction and polynomial of Cephes' expf).
function exp4(x: v128): v128 {
  const far = f32x4.lt(x, f32x4.splat(-87));
  x = f32x4.max(x, f32x4.splat(-87));
  const n = f32x4.nearest(f32x4.mul(x, f32x4.splat(1.44269504088896341)));
  let r = f32x4.sub(x, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.sub(r, f32x4.mul(n, f32x4.splat(-2.12194440e-4)));
  let p = f32x4.splat(1.9875691500e-4);
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.3981999507e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(8.3334519073e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(4.1665795894e-2));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.6666665459e-1));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(5.0000001201e-1));
  p = f32x4.add(f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r), f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23);
  return v128.andnot(f32x4.mul(p, power), far);
}

// @ts-ignore: AssemblyScript decorator
@inline
function total(v: v128): f64 {
  return (
    <f64>f32x4.extract_lane(v, 0) + <f64>f32x4.extract_lane(v, 1) +
    (<f64>f32x4.extract_lane(v, 2) + <f64>f32x4.extract_lane(v, 3))
  );
}

// Floats of a row of results: the sum of e^(logit - largest), of that the queue's share, largest - logit of the key, the
// key's cosine, the mean cosine of the queue.
const RESULTS: usize = 5 * 8;

// Cosines [K] at `row` -> e^(logit - largest) in place.
function exponentials(row: usize, mask: usize, keys: i32, k8: i32, inverse: f32, own: f32, results: usize): void {
  const fours = keys & ~3;
  const scale = f32x4.splat(inverse);
  let mean: f64 = 0;
  let most = f32x4.splat(own);
  for (let j = 0; j < fours; j += 4) {
    const at = row + (<usize>j << 2);
    let v = v128.load(at);
    mean += total(v);
    if (mask) v = f32x4.add(v, v128.load(mask + (<usize>j << 2)));
    v = f32x4.mul(v, scale);
    most = f32x4.max(most, v);
    v128.store(at, v);
  }
  for (let j = fours; j < keys; j++) {
    const at = row + (<usize>j << 2);
    let v = load<f32>(at);
    mean += <f64>v;
    if (mask) v += load<f32>(mask + (<usize>j << 2));
    store<f32>(at, v * inverse);
    most = f32x4.max(most, f32x4.splat(v * inverse));
  }
  const pair = f32x4.max(most, v128.shuffle<f32>(most, most, 2, 3, 0, 1));
  most = f32x4.max(pair, v128.shuffle<f32>(pair, pair, 1, 0, 3, 2));
  let sum: f64 = 0;
  for (let j = 0; j < fours; j += 4) {
    const at = row + (<usize>j << 2);
    const e = exp4(f32x4.sub(v128.load(at), most));
    v128.store(at, e);
    sum += total(e);
  }
  for (let j = fours; j < keys; j++) {
    const at = row + (<usize>j << 2);
    const e = f32x4.extract_lane(exp4(f32x4.sub(f32x4.splat(load<f32>(at)), most)), 0);
    store<f32>(at, e);
    sum += <f64>e;
  }
  memory.fill(row + (<usize>keys << 2), 0, <usize>(k8 - keys) << 2);
  const largest = f32x4.extract_lane(most, 0);
  store<f64>(results, sum + <f64>f32x4.extract_lane(exp4(f32x4.splat(own - largest)), 0));
  store<f64>(results, sum, 8);
  store<f64>(results, <f64>(largest - own), 16);
  store<f64>(results, mean / <f64>keys, 32);
}

/**
 * Of each query to `results` f64[N,5]: S, the sum of e^(logit - largest); the queue's part of S; largest - logit of the key;
 * the key's cosine; the mean cosine of the queue. Its loss is log(S) + the third. To dq f32[N,C]: d(mean loss) / dq.
 * `mask` f32[N,K], added to the queue's cosines, may be 0.
 */
export function infoNce(
  q: usize, k: usize, panels: usize, mask: usize, results: usize, dq: usize, scratch: usize,
  n: i32, c: i32, keys: i32, temperature: f64,
): void {
  const n2 = even(n), c2 = even(c), k8 = eights(keys), c8 = eights(c);
  const queries = (scratch + 15) & ~15; // f32[n2, c2]
  const step = (<usize>k8 << 2) + 64; // two rows a multiple of a page apart would share cache sets
  const logits = queries + (<usize>(n2 * c2) << 2); // f32[n2, k8]
  const sums = logits + <usize>n2 * step; // f32[n2, c8]
  for (let i = 0; i < n2; i++) {
    for (let j = 0; j < c2; j++) {
      const there = j < c && i < n;
      store<f32>(queries + (<usize>(i * c2 + j) << 2), there ? load<f32>(q + (<usize>(i * c + j) << 2)) : 0);
    }
  }
  product(queries, <usize>c2 << 2, panels, c2, logits, step, n2, k8);
  const inverse = <f32>(1.0 / temperature);
  for (let i = 0; i < n; i++) {
    let cosine: f64 = 0;
    for (let j = 0; j < c; j++) {
      const o = <usize>(i * c + j) << 2;
      cosine += <f64>load<f32>(q + o) * <f64>load<f32>(k + o);
    }
    const to = results + <usize>i * RESULTS;
    const masked = mask ? mask + (<usize>(i * keys) << 2) : 0;
    exponentials(logits + <usize>i * step, masked, keys, k8, inverse, <f32>cosine * inverse, to);
    store<f64>(to, cosine, 24);
  }
  if (n2 > n) memory.fill(logits + <usize>n * step, 0, <usize>k8 << 2);
  product(logits, step, panels + (<usize>(k8 * c2) << 2), even(keys), sums, <usize>c8 << 2, n2, c8);
  for (let i = 0; i < n; i++) {
    const from = results + <usize>i * RESULTS;
    const share = 1.0 / (load<f64>(from) * <f64>n * temperature);
    const queueSum = load<f64>(from, 8);
    for (let j = 0; j < c; j++) {
      const o = <usize>(i * c + j) << 2;
      const toQueue = <f64>load<f32>(sums + (<usize>(i * c8 + j) << 2));
      // Away from the key by 1 - p of it, which is what the queue has: near 1 the difference would keep no digits.
      store<f32>(dq + o, <f32>((toQueue - queueSum * <f64>load<f32>(k + o)) * share));
    }
  }
}
