// Batch normalisation over rows f32[R, C] (R = N*H*W, channels innermost), fused with a residual add and ReLU.
//
// Memory is what it waits for, so every pass goes through it once and in order: bands of a few rows, and in them 16 or 8
// channels at a time in registers. Sums run in float32 for 256 rows and in float64 beyond.

import { widen } from "./functions";

const ROWS: i32 = 256;

// Rows of a band, a divisor of ROWS: about 1 KB. More rows are more streams than a processor follows: 16 rows of 64
// channels are three times as slow as 4, where the tensors are beyond the caches.
function bandOf(c: i32): i32 {
  let band = 4;
  while (band < 64 && 2 * band * c <= 256) band *= 2;
  return band;
}

// sums += x - shift, squares += (x - shift)^2 over `rows` rows of 16 columns.
function moments16(x: usize, stride: usize, rows: i32, shift: usize, sums: usize, squares: usize): void {
  const ma = v128.load(shift), mb = v128.load(shift, 16), mc = v128.load(shift, 32), md = v128.load(shift, 48);
  let a = v128.load(sums), b = v128.load(sums, 16), c = v128.load(sums, 32), d = v128.load(sums, 48);
  let e = v128.load(squares), f = v128.load(squares, 16), g = v128.load(squares, 32), h = v128.load(squares, 48);
  for (let r = 0; r < rows; r++) {
    let v = f32x4.sub(v128.load(x), ma);
    a = f32x4.add(a, v); e = f32x4.add(e, f32x4.mul(v, v));
    v = f32x4.sub(v128.load(x, 16), mb);
    b = f32x4.add(b, v); f = f32x4.add(f, f32x4.mul(v, v));
    v = f32x4.sub(v128.load(x, 32), mc);
    c = f32x4.add(c, v); g = f32x4.add(g, f32x4.mul(v, v));
    v = f32x4.sub(v128.load(x, 48), md);
    d = f32x4.add(d, v); h = f32x4.add(h, f32x4.mul(v, v));
    x += stride;
  }
  v128.store(sums, a); v128.store(sums, b, 16); v128.store(sums, c, 32); v128.store(sums, d, 48);
  v128.store(squares, e); v128.store(squares, f, 16); v128.store(squares, g, 32); v128.store(squares, h, 48);
}

function moments1(x: usize, stride: usize, rows: i32, shift: usize, sums: usize, squares: usize): void {
  const m = load<f32>(shift);
  let s = load<f32>(sums), t = load<f32>(squares);
  for (let r = 0; r < rows; r++) {
    const d = load<f32>(x + <usize>r * stride) - m;
    s += d;
    t += d * d;
  }
  store<f32>(sums, s);
  store<f32>(squares, t);
}

/**
 * mean f32[C] and biased variance f32[C] of x f32[R,C] in one pass: sums and sums of squares about the mean of the first
 * rows, so that no digits are lost however far the values lie from zero. scratch: C*28 bytes.
 */
export function moments(x: usize, mean: usize, variance: usize, scratch: usize, rows: i32, c: i32): void {
  const sums = scratch, squares = sums + (<usize>c << 3);
  const sum = squares + (<usize>c << 3), square = sum + (<usize>c << 2), shift = square + (<usize>c << 2);
  const stride = <usize>c << 2;
  memory.fill(scratch, 0, <usize>c * 24);
  const first = min(rows, 16);
  for (let k = 0; k < c; k++) {
    let s: f32 = 0;
    for (let r = 0; r < first; r++) s += load<f32>(x + <usize>r * stride + (<usize>k << 2));
    store<f32>(shift + (<usize>k << 2), s / <f32>first);
  }
  const band = bandOf(c);
  for (let start = 0; start < rows; start += band) {
    const count = min(band, rows - start);
    const from = x + <usize>start * stride;
    let j = 0;
    for (; j + 16 <= c; j += 16) {
      const o = <usize>j << 2;
      moments16(from + o, stride, count, shift + o, sum + o, square + o);
    }
    for (; j < c; j++) {
      const o = <usize>j << 2;
      moments1(from + o, stride, count, shift + o, sum + o, square + o);
    }
    if ((start + band) % ROWS == 0 || start + band >= rows) {
      widen(sum, sums, c);
      widen(square, squares, c);
    }
  }
  for (let k = 0; k < c; k++) {
    const wide = <usize>k << 3, o = <usize>k << 2;
    const away = load<f64>(sums + wide) / <f64>rows;
    store<f32>(mean + o, <f32>(<f64>load<f32>(shift + o) + away));
    store<f32>(variance + o, <f32>Math.max(0, load<f64>(squares + wide) / <f64>rows - away * away));
  }
}

// y = max(x * scale + shift + residual, floor) for 16 columns. `floor` is 0 for a ReLU, else minus infinity.
function normalise16(
  x: usize, residual: usize, y: usize, stride: usize, rows: i32, scale: usize, shift: usize, floor: v128,
): void {
  const sa = v128.load(scale), sb = v128.load(scale, 16), sc = v128.load(scale, 32), sd = v128.load(scale, 48);
  const ha = v128.load(shift), hb = v128.load(shift, 16), hc = v128.load(shift, 32), hd = v128.load(shift, 48);
  for (let r = 0; r < rows; r++) {
    let a = f32x4.add(f32x4.mul(v128.load(x), sa), ha), b = f32x4.add(f32x4.mul(v128.load(x, 16), sb), hb);
    let c = f32x4.add(f32x4.mul(v128.load(x, 32), sc), hc), d = f32x4.add(f32x4.mul(v128.load(x, 48), sd), hd);
    if (residual) {
      a = f32x4.add(a, v128.load(residual)); b = f32x4.add(b, v128.load(residual, 16));
      c = f32x4.add(c, v128.load(residual, 32)); d = f32x4.add(d, v128.load(residual, 48));
      residual += stride;
    }
    v128.store(y, f32x4.max(a, floor)); v128.store(y, f32x4.max(b, floor), 16);
    v128.store(y, f32x4.max(c, floor), 32); v128.store(y, f32x4.max(d, floor), 48);
    x += stride;
    y += stride;
  }
}

/**
 * y = act(x * scale + shift + residual), scale = gamma / sqrt(variance + eps), shift = beta - mean * scale.
 * `residual` 0 means none; `relu` 0 means identity. scratch: C*8 bytes.
 */
export function normalise(
  x: usize, gamma: usize, beta: usize, mean: usize, variance: usize, residual: usize, y: usize, scratch: usize,
  rows: i32, c: i32, eps: f32, relu: i32,
): void {
  const scale = scratch, shift = scratch + (<usize>c << 2);
  for (let j = 0; j < c; j++) {
    const o = <usize>j << 2;
    const s = <f32>(<f64>load<f32>(gamma + o) / Math.sqrt(<f64>load<f32>(variance + o) + <f64>eps));
    store<f32>(scale + o, s);
    store<f32>(shift + o, load<f32>(beta + o) - load<f32>(mean + o) * s);
  }
  const least: f32 = relu ? 0 : -f32.MAX_VALUE * 2;
  const floor = f32x4.splat(least);
  const stride = <usize>c << 2;
  const band = bandOf(c);
  for (let start = 0; start < rows; start += band) {
    const count = min(band, rows - start);
    const at = <usize>start * stride;
    let j = 0;
    for (; j + 16 <= c; j += 16) {
      const o = <usize>j << 2;
      normalise16(x + at + o, residual ? residual + at + o : 0, y + at + o, stride, count, scale + o, shift + o, floor);
    }
    for (; j < c; j++) {
      const o = <usize>j << 2;
      const s = load<f32>(scale + o), h = load<f32>(shift + o);
      for (let r = 0; r < count; r++) {
        const p = at + <usize>r * stride + o;
        let v = load<f32>(x + p) * s + h;
        if (residual) v += load<f32>(residual + p);
        store<f32>(y + p, max(v, least));
      }
    }
  }
}

// dy where the ReLU let it through: `all` has every bit set where there was none.
// @ts-ignore: AssemblyScript decorator
@inline
function passed(dy: usize, y: usize, o: usize, all: v128): v128 {
  return v128.and(v128.load(dy + o), v128.or(f32x4.gt(v128.load(y + o), f32x4.splat(0)), all));
}

// sumG += g, sumX += g * (x - mean) over `rows` rows of 8 columns.
function gradSums8(
  x: usize, y: usize, dy: usize, stride: usize, rows: i32, mean: usize, sumG: usize, sumX: usize, all: v128,
): void {
  const m = v128.load(mean), k = v128.load(mean, 16);
  let a = v128.load(sumG), b = v128.load(sumG, 16), s = v128.load(sumX), t = v128.load(sumX, 16);
  for (let r = 0; r < rows; r++) {
    let g = passed(dy, y, 0, all);
    a = f32x4.add(a, g); s = f32x4.add(s, f32x4.mul(g, f32x4.sub(v128.load(x), m)));
    g = passed(dy, y, 16, all);
    b = f32x4.add(b, g); t = f32x4.add(t, f32x4.mul(g, f32x4.sub(v128.load(x, 16), k)));
    x += stride; y += stride; dy += stride;
  }
  v128.store(sumG, a); v128.store(sumG, b, 16);
  v128.store(sumX, s); v128.store(sumX, t, 16);
}

/**
 * First half of the gradient of moments + normalise. g = dy where y > 0 (relu) else dy.
 * sums f64[2,C]: sum g, sum g*(x - mean). scratch: C*8 bytes.
 */
export function normaliseGradSums(
  x: usize, mean: usize, y: usize, dy: usize, sums: usize, scratch: usize, rows: i32, c: i32, relu: i32,
): void {
  const sumG = sums, sumX = sums + (<usize>c << 3);
  const blockG = scratch, blockX = scratch + (<usize>c << 2);
  memory.fill(sums, 0, <usize>c * 16);
  memory.fill(scratch, 0, <usize>c * 8);
  const all = i32x4.splat(relu ? 0 : -1);
  const stride = <usize>c << 2;
  const band = bandOf(c);
  for (let start = 0; start < rows; start += band) {
    const count = min(band, rows - start);
    const at = <usize>start * stride;
    let j = 0;
    for (; j + 8 <= c; j += 8) {
      const o = <usize>j << 2;
      gradSums8(x + at + o, y + at + o, dy + at + o, stride, count, mean + o, blockG + o, blockX + o, all);
    }
    for (; j < c; j++) {
      const o = <usize>j << 2;
      const m = load<f32>(mean + o);
      let a = load<f32>(blockG + o), b = load<f32>(blockX + o);
      for (let r = 0; r < count; r++) {
        const i = at + <usize>r * stride + o;
        const g = relu && load<f32>(y + i) <= 0 ? <f32>0 : load<f32>(dy + i);
        a += g;
        b += g * (load<f32>(x + i) - m);
      }
      store<f32>(blockG + o, a);
      store<f32>(blockX + o, b);
    }
    if ((start + band) % ROWS == 0 || start + band >= rows) {
      widen(blockG, sumG, c);
      widen(blockX, sumX, c);
    }
  }
}

/**
 * Second half: `dResidual` (0: none) receives g. `own` and `total`, f64[2,C], are the sums of these rows and of all that
 * were normalised together, `allRows` of them: dbeta = own sum g; dgamma = own sum g*xhat;
 * dx = gamma*invstd*(g - sum g/R - xhat*sum(g*xhat)/R)   (Ioffe & Szegedy 2015, section 3),
 * done as dx = g*p - s - (x - mean)*q. scratch: C*12 bytes.
 */
export function normaliseGrad(
  x: usize, gamma: usize, mean: usize, variance: usize, y: usize, dy: usize,
  dx: usize, dgamma: usize, dbeta: usize, dResidual: usize, own: usize, total: usize, scratch: usize,
  rows: i32, allRows: i32, c: i32, eps: f32, relu: i32,
): void {
  const p = scratch, q = p + (<usize>c << 2), s = q + (<usize>c << 2);
  const all = i32x4.splat(relu ? 0 : -1);
  const stride = <usize>c << 2;
  const band = bandOf(c);
  for (let k = 0; k < c; k++) {
    const o = <usize>k << 2;
    const inv = 1.0 / Math.sqrt(<f64>load<f32>(variance + o) + <f64>eps);
    const wide = <usize>k << 3, second = wide + (<usize>c << 3);
    store<f32>(dgamma + o, <f32>(load<f64>(own + second) * inv));
    store<f32>(dbeta + o, <f32>load<f64>(own + wide));
    const dg = load<f64>(total + second) * inv;
    const db = load<f64>(total + wide);
    const scale = inv * <f64>load<f32>(gamma + o);
    store<f32>(p + o, <f32>scale);
    store<f32>(q + o, <f32>((scale * dg * inv) / <f64>allRows));
    store<f32>(s + o, <f32>((scale * db) / <f64>allRows));
  }
  for (let start = 0; start < rows; start += band) {
    const count = min(band, rows - start);
    const at = <usize>start * stride;
    let j = 0;
    for (; j + 8 <= c; j += 8) {
      const o = <usize>j << 2;
      const i = at + o;
      gradInput8(x + i, y + i, dy + i, dx + i, dResidual ? dResidual + i : 0, stride, count, mean + o, p + o, q + o, s + o, all);
    }
    for (; j < c; j++) {
      const o = <usize>j << 2;
      for (let r = 0; r < count; r++) {
        const i = at + <usize>r * stride + o;
        const g = relu && load<f32>(y + i) <= 0 ? <f32>0 : load<f32>(dy + i);
        if (dResidual) store<f32>(dResidual + i, g);
        const d = load<f32>(x + i) - load<f32>(mean + o);
        store<f32>(dx + i, g * load<f32>(p + o) - load<f32>(s + o) - d * load<f32>(q + o));
      }
    }
  }
}

function gradInput8(
  x: usize, y: usize, dy: usize, dx: usize, dResidual: usize, stride: usize, rows: i32,
  mean: usize, p: usize, q: usize, s: usize, all: v128,
): void {
  const m0 = v128.load(mean), p0 = v128.load(p), q0 = v128.load(q), s0 = v128.load(s);
  const m1 = v128.load(mean, 16), p1 = v128.load(p, 16), q1 = v128.load(q, 16), s1 = v128.load(s, 16);
  for (let r = 0; r < rows; r++) {
    const g = passed(dy, y, 0, all), h = passed(dy, y, 16, all);
    if (dResidual) {
      v128.store(dResidual, g); v128.store(dResidual, h, 16);
      dResidual += stride;
    }
    const d = f32x4.sub(v128.load(x), m0), e = f32x4.sub(v128.load(x, 16), m1);
    v128.store(dx, f32x4.sub(f32x4.sub(f32x4.mul(g, p0), s0), f32x4.mul(d, q0)));
    v128.store(dx, f32x4.sub(f32x4.sub(f32x4.mul(h, p1), s1), f32x4.mul(e, q1)), 16);
    x += stride; y += stride; dy += stride; dx += stride;
  }
}
