// Softmax attention of all heads of one image, and its gradient, without the T x T probabilities: a block of queries at a
// time, whose rows of scores stay in the cache; the backward pass computes them once more (Dao et al. 2022).
//
// Causal: a block needs no keys after its last query, and `stop` is where they end. A query's own row ends at `seen`, behind
// which its probabilities are zeros up to `stop`, so that the products of a block have one size.
//
// Layouts: qkv f32[T,3,H,D], out f32[T,H,D], stats f32[H,T,2]: of a query its largest score, and 1 / sum of
// e^(score - largest).

import { exp4, total } from "./functions";
import { accumulate, productPart } from "./gemm";
import { eights, even, pack } from "./panels";

// Queries of a block: even.
const BLOCK: i32 = 32;

// @ts-ignore: AssemblyScript decorator
@inline
function floats(count: i32): usize {
  return <usize>count << 2;
}

// Bytes from row to row of scores: rows a multiple of a page apart would share cache sets.
// @ts-ignore: AssemblyScript decorator
@inline
function scoreStep(tokens: i32): usize {
  return floats(eights(tokens)) + 64;
}

/** Bytes of scratch of `attention`. */
export function attentionScratchBytes(tokens: i32, d: i32): i32 {
  const panels = even(d) * eights(tokens) + even(tokens) * eights(d);
  return 4 * (panels + BLOCK * (even(d) + eights(d))) + BLOCK * <i32>scoreStep(tokens) + 64;
}

/** Bytes of scratch of `attentionGrad`. */
export function attentionGradScratchBytes(tokens: i32, d: i32): i32 {
  const panels = 2 * even(d) * eights(tokens) + even(tokens) * eights(d);
  const blocks = BLOCK * (2 * even(d) + 3 * eights(d) + eights(tokens));
  return 4 * (panels + blocks + 2 * eights(tokens) * eights(d)) + 2 * BLOCK * <i32>scoreStep(tokens) + 64;
}

// A block f32[BLOCK, columns] of `rows` rows of d numbers `step` bytes apart, times `factor`; else zero.
function copyBlock(from: usize, step: usize, to: usize, rows: i32, d: i32, columns: i32, factor: f32): void {
  for (let i = 0; i < BLOCK; i++) {
    for (let j = 0; j < columns; j++) {
      const there = i < rows && j < d;
      store<f32>(to, there ? load<f32>(from + <usize>i * step + (<usize>j << 2)) * factor : 0);
      to += 4;
    }
  }
}

// Scores [tokens] at `row` -> e^(score - largest) in place, zeros behind them. Returns the sum; the largest to `largest`.
function exponentials(row: usize, tokens: i32, largest: usize): f64 {
  const fours = tokens & ~3, whole = eights(tokens);
  let most = f32x4.splat(load<f32>(row));
  for (let j = 0; j < fours; j += 4) most = f32x4.max(most, v128.load(row + (<usize>j << 2)));
  for (let j = fours; j < tokens; j++) most = f32x4.max(most, v128.load32_splat(row + (<usize>j << 2)));
  const pair = f32x4.max(most, v128.shuffle<f32>(most, most, 2, 3, 0, 1));
  most = f32x4.max(pair, v128.shuffle<f32>(pair, pair, 1, 0, 3, 2));
  store<f32>(largest, f32x4.extract_lane(most, 0));
  // Behind the last token nothing counts: e^-inf.
  for (let j = tokens; j < whole; j++) store<f32>(row + (<usize>j << 2), -f32.MAX_VALUE);
  let sum: f64 = 0;
  for (let j = 0; j < whole; j += 4) {
    const at = row + (<usize>j << 2);
    const e = exp4(f32x4.sub(v128.load(at), most));
    v128.store(at, e);
    sum += total(e);
  }
  return sum;
}

// Zeros of a row of scores from column `from` to `to`.
// @ts-ignore: AssemblyScript decorator
@inline
function clear(row: usize, from: i32, to: i32): void {
  if (from < to) memory.fill(row + floats(from), 0, floats(to - from));
}

/** One image: out = softmax(q k^T * scale) v for each head, and `stats`. Causal: a query sees no keys after its own. */
export function attention(
  qkv: usize, out: usize, stats: usize, scratch: usize, tokens: i32, heads: i32, d: i32, scale: f32, causal: bool,
): void {
  const d2 = even(d), d8 = eights(d), t2 = even(tokens), t8 = eights(tokens);
  const kPanels = (scratch + 15) & ~15; // f32[d2, t8]
  const vPanels = kPanels + floats(d2 * t8); // f32[t2, d8]
  const queries = vPanels + floats(t2 * d8); // f32[BLOCK, d2]
  const results = queries + floats(BLOCK * d2); // f32[BLOCK, d8]
  const scores = results + floats(BLOCK * d8); // f32[BLOCK, t8]
  const step = scoreStep(tokens);
  const token = floats(3 * heads * d), outToken = floats(heads * d);
  for (let head = 0; head < heads; head++) {
    const q = qkv + floats(head * d);
    const k = q + floats(heads * d), v = k + floats(heads * d);
    pack(k, kPanels, d, d2, tokens, 4, token);
    pack(v, vPanels, tokens, t2, d, token, 4);
    for (let first = 0; first < tokens; first += BLOCK) {
      const rows = min(BLOCK, tokens - first), rows2 = even(rows);
      const stop = causal ? first + rows : tokens, stop8 = eights(stop);
      copyBlock(q + <usize>first * token, token, queries, rows, d, d2, scale);
      productPart(queries, floats(d2), kPanels, d2, d2, scores, step, rows2, t8, stop8);
      for (let i = 0; i < rows; i++) {
        const stat = stats + (<usize>(head * tokens + first + i) << 3), row = scores + <usize>i * step;
        const seen = causal ? first + i + 1 : tokens, seen8 = eights(seen);
        const sum = exponentials(row, seen, stat);
        store<f32>(stat, <f32>(1.0 / sum), 4);
        const share = v128.load32_splat(stat, 4);
        for (let j = 0; j < seen8; j += 4) {
          const at = row + floats(j);
          v128.store(at, f32x4.mul(v128.load(at), share));
        }
        clear(row, seen8, stop8);
      }
      if (rows2 > rows) memory.fill(scores + <usize>rows * step, 0, floats(stop8));
      productPart(scores, step, vPanels, t2, even(stop), results, floats(d8), rows2, d8, d8);
      for (let i = 0; i < rows; i++) {
        memory.copy(
          out + <usize>(first + i) * outToken + floats(head * d), results + floats(i * d8), floats(d),
        );
      }
    }
  }
}

// f32[BLOCK, columns] with rows `step` apart -> f32[columns / 4, BLOCK, 4], as `accumulate` takes its first factor.
function interleave(from: usize, step: usize, to: usize, columns: i32): void {
  for (let j = 0; j < columns; j += 4) {
    for (let i = 0; i < BLOCK; i++) {
      v128.store(to, v128.load(from + <usize>i * step + floats(j)));
      to += 16;
    }
  }
}

/** One image: d(loss) / d(qkv) from that by `out`. dS = P (dP - rowsum(dO * O)) (Dao et al., appendix B.2). */
export function attentionGrad(
  qkv: usize, out: usize, stats: usize, dout: usize, dqkv: usize, scratch: usize,
  tokens: i32, heads: i32, d: i32, scale: f32, causal: bool,
): void {
  const d2 = even(d), d8 = eights(d), t2 = even(tokens), t8 = eights(tokens);
  const step = scoreStep(tokens);
  const byKey = (scratch + 15) & ~15; // k: f32[d2, t8]
  const byValue = byKey + floats(d2 * t8); // v: f32[d2, t8]
  const keys = byValue + floats(d2 * t8); // k: f32[t2, d8]
  const queries = keys + floats(t2 * d8); // q * scale: f32[BLOCK, d2]
  const outs = queries + floats(BLOCK * d2); // dO: f32[BLOCK, d2]
  const queryPanels = outs + floats(BLOCK * d2); // f32[BLOCK, d8]
  const outPanels = queryPanels + floats(BLOCK * d8); // f32[BLOCK, d8]
  const results = outPanels + floats(BLOCK * d8); // f32[BLOCK, d8]
  const turned = results + floats(BLOCK * d8); // f32[t8 / 4, BLOCK, 4]
  const sumK = turned + floats(BLOCK * t8); // dk: f32[t8, d8]
  const sumV = sumK + floats(t8 * d8); // dv: f32[t8, d8]
  const p = sumV + floats(t8 * d8); // f32[BLOCK, t8]
  const dp = p + <usize>BLOCK * step; // f32[BLOCK, t8]
  const token = floats(3 * heads * d), outToken = floats(heads * d), part = floats(heads * d);
  for (let head = 0; head < heads; head++) {
    const o = floats(head * d);
    const q = qkv + o, k = q + part, v = k + part;
    pack(k, byKey, d, d2, tokens, 4, token);
    pack(v, byValue, d, d2, tokens, 4, token);
    pack(k, keys, tokens, t2, d, token, 4);
    // The first block, which otherwise writes these sums, does not reach all keys.
    if (causal) memory.fill(sumK, 0, floats(2 * t8 * d8));
    for (let first = 0; first < tokens; first += BLOCK) {
      const rows = min(BLOCK, tokens - first), rows2 = even(rows);
      const stop = causal ? first + rows : tokens, stop8 = eights(stop);
      const fromOut = <usize>first * outToken + o;
      copyBlock(q + <usize>first * token, token, queries, rows, d, d2, scale);
      copyBlock(dout + fromOut, outToken, outs, rows, d, d2, 1);
      pack(queries, queryPanels, BLOCK, BLOCK, d, floats(d2), 4);
      pack(outs, outPanels, BLOCK, BLOCK, d, floats(d2), 4);
      productPart(queries, floats(d2), byKey, d2, d2, p, step, rows2, t8, stop8);
      productPart(outs, floats(d2), byValue, d2, d2, dp, step, rows2, t8, stop8);
      for (let i = 0; i < rows; i++) {
        let delta: f64 = 0;
        for (let j = 0; j < d; j++) {
          const at = fromOut + <usize>i * outToken + floats(j);
          delta += <f64>load<f32>(out + at) * <f64>load<f32>(dout + at);
        }
        const stat = stats + (<usize>(head * tokens + first + i) << 3);
        const less = f32x4.splat(<f32>delta), most = v128.load32_splat(stat), share = v128.load32_splat(stat, 4);
        const row = <usize>i * step;
        const seen = causal ? first + i + 1 : tokens, seen8 = eights(seen);
        for (let j = seen; j < seen8; j++) store<f32>(p + row + floats(j), -f32.MAX_VALUE);
        for (let j = 0; j < seen8; j += 4) {
          const at = row + floats(j);
          const e = f32x4.mul(exp4(f32x4.sub(v128.load(p + at), most)), share);
          v128.store(p + at, e);
          v128.store(dp + at, f32x4.mul(e, f32x4.sub(v128.load(dp + at), less)));
        }
        clear(p + row, seen8, stop8);
        clear(dp + row, seen8, stop8);
      }
      for (let i = rows; i < BLOCK; i++) {
        memory.fill(p + <usize>i * step, 0, floats(stop8));
        memory.fill(dp + <usize>i * step, 0, floats(stop8));
      }
      const sets = first == 0 && !causal;
      interleave(p, step, turned, stop8);
      accumulate(turned, outPanels, BLOCK, BLOCK, sumV, stop8, d8, sets);
      interleave(dp, step, turned, stop8);
      accumulate(turned, queryPanels, BLOCK, BLOCK, sumK, stop8, d8, sets);
      productPart(dp, step, keys, t2, even(stop), results, floats(d8), rows2, d8, d8);
      for (let i = 0; i < rows; i++) {
        const to = dqkv + <usize>(first + i) * token + o, from = results + floats(i * d8);
        for (let j = 0; j < d; j++) store<f32>(to + floats(j), load<f32>(from + floats(j)) * scale);
      }
    }
    for (let i = 0; i < tokens; i++) {
      const to = dqkv + <usize>i * token + o + part;
      memory.copy(to, sumK + floats(i * d8), floats(d));
      memory.copy(to + part, sumV + floats(i * d8), floats(d));
    }
  }
}
