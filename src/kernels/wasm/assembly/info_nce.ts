// InfoNCE with its gradient (van den Oord et al. 2018; MoCo eq. 1). The logits are stored once, as they turn into
// probabilities in place: [N,K] is written by one product and read by the other.
//
// Layouts: q, k f32[N,C], queue f32[K,C], mask f32[N,K].

import { exp4, total } from "./functions";
import { product } from "./gemm";
import { eights, even, pack } from "./panels";

/** Bytes of the queue in panels, by keys and by dimensions. */
export function queuePanelBytes(keys: i32, c: i32): i32 {
  return (eights(keys) * even(c) + even(keys) * eights(c)) * 4;
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
