// Batch normalisation over rows f32[R, C] (R = N*H*W, channels innermost), fused with a residual add and ReLU.
//
// Blocks of 256 rows, and in them 16 channels at a time, one cache line: what is added up stays in registers, what is
// read twice is still in the first cache the second time. Sums run in float32 in a block and in float64 across blocks.

const ROWS: i32 = 256;

// @ts-ignore: AssemblyScript decorator
@inline
function square(v: v128, m: v128): v128 {
  const d = f32x4.sub(v, m);
  return f32x4.mul(d, d);
}

// Sums of 16 columns of `rows` rows, and of their squared distances from the mean of these rows.
function moments16(x: usize, stride: usize, rows: i32, sum: usize, squares: usize): void {
  let a = f32x4.splat(0), b = a, c = a, d = a;
  let at = x;
  for (let r = 0; r < rows; r++) {
    a = f32x4.add(a, v128.load(at)); b = f32x4.add(b, v128.load(at, 16));
    c = f32x4.add(c, v128.load(at, 32)); d = f32x4.add(d, v128.load(at, 48));
    at += stride;
  }
  v128.store(sum, a); v128.store(sum, b, 16); v128.store(sum, c, 32); v128.store(sum, d, 48);
  const share = f32x4.splat(<f32>1 / <f32>rows);
  const ma = f32x4.mul(a, share), mb = f32x4.mul(b, share), mc = f32x4.mul(c, share), md = f32x4.mul(d, share);
  a = f32x4.splat(0); b = a; c = a; d = a;
  at = x;
  for (let r = 0; r < rows; r++) {
    a = f32x4.add(a, square(v128.load(at), ma)); b = f32x4.add(b, square(v128.load(at, 16), mb));
    c = f32x4.add(c, square(v128.load(at, 32), mc)); d = f32x4.add(d, square(v128.load(at, 48), md));
    at += stride;
  }
  v128.store(squares, a); v128.store(squares, b, 16); v128.store(squares, c, 32); v128.store(squares, d, 48);
}

function moments1(x: usize, stride: usize, rows: i32, sum: usize, squares: usize): void {
  let s: f32 = 0, t: f32 = 0;
  for (let r = 0; r < rows; r++) s += load<f32>(x + <usize>r * stride);
  const m = s / <f32>rows;
  for (let r = 0; r < rows; r++) {
    const d = load<f32>(x + <usize>r * stride) - m;
    t += d * d;
  }
  store<f32>(sum, s);
  store<f32>(squares, t);
}

/**
 * mean f32[C] and biased variance f32[C] of x f32[R,C], blocks combined as Chan, Golub and LeVeque (1979) do.
 * scratch: C*24 bytes.
 */
export function moments(x: usize, mean: usize, variance: usize, scratch: usize, rows: i32, c: i32): void {
  const means = scratch, spreads = scratch + (<usize>c << 3);
  const sum = spreads + (<usize>c << 3), squares = sum + (<usize>c << 2);
  const stride = <usize>c << 2;
  memory.fill(scratch, 0, <usize>c << 4);
  for (let start = 0; start < rows; start += ROWS) {
    const count = min(ROWS, rows - start);
    const from = x + <usize>start * stride;
    let j = 0;
    for (; j + 16 <= c; j += 16) {
      const o = <usize>j << 2;
      moments16(from + o, stride, count, sum + o, squares + o);
    }
    for (; j < c; j++) {
      const o = <usize>j << 2;
      moments1(from + o, stride, count, sum + o, squares + o);
    }
    const n = <f64>count, all = <f64>(start + count);
    for (let k = 0; k < c; k++) {
      const wide = <usize>k << 3, o = <usize>k << 2;
      const before = load<f64>(means + wide);
      const delta = <f64>load<f32>(sum + o) / n - before;
      store<f64>(means + wide, before + (delta * n) / all);
      const spread = <f64>load<f32>(squares + o) + (delta * delta * n * <f64>start) / all;
      store<f64>(spreads + wide, load<f64>(spreads + wide) + spread);
    }
  }
  for (let k = 0; k < c; k++) {
    const wide = <usize>k << 3, o = <usize>k << 2;
    store<f32>(mean + o, <f32>load<f64>(means + wide));
    store<f32>(variance + o, <f32>(load<f64>(spreads + wide) / <f64>rows));
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
  for (let start = 0; start < rows; start += ROWS) {
    const count = min(ROWS, rows - start);
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

// Sums of g and of g * (x - mean) of 8 columns.
function gradSums8(
  x: usize, y: usize, dy: usize, stride: usize, rows: i32, mean: usize, sumG: usize, sumX: usize, all: v128,
): void {
  const m = v128.load(mean), k = v128.load(mean, 16);
  let a = f32x4.splat(0), b = a, s = a, t = a;
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
 * Backward of moments + normalise. g = dy where y > 0 (relu) else dy; `dResidual` (0: none) receives g.
 * dbeta = sum g; dgamma = sum g*xhat; dx = gamma*invstd*(g - dbeta/R - xhat*dgamma/R)   (Ioffe & Szegedy 2015, §3),
 * done as dx = g*p - s - (x - mean)*q. scratch: C*36 bytes.
 */
export function normaliseGrad(
  x: usize, gamma: usize, mean: usize, variance: usize, y: usize, dy: usize,
  dx: usize, dgamma: usize, dbeta: usize, dResidual: usize, scratch: usize,
  rows: i32, c: i32, eps: f32, relu: i32,
): void {
  const sumG = scratch, sumX = scratch + (<usize>c << 3);
  const blockG = scratch + (<usize>c << 4), blockX = blockG + (<usize>c << 2);
  const p = blockX + (<usize>c << 2), q = p + (<usize>c << 2), s = q + (<usize>c << 2);
  memory.fill(scratch, 0, <usize>c << 4);
  const all = i32x4.splat(relu ? 0 : -1);
  const stride = <usize>c << 2;
  for (let start = 0; start < rows; start += ROWS) {
    const count = min(ROWS, rows - start);
    const at = <usize>start * stride;
    let j = 0;
    for (; j + 8 <= c; j += 8) {
      const o = <usize>j << 2;
      gradSums8(x + at + o, y + at + o, dy + at + o, stride, count, mean + o, blockG + o, blockX + o, all);
    }
    for (; j < c; j++) {
      const o = <usize>j << 2;
      const m = load<f32>(mean + o);
      let a: f32 = 0, b: f32 = 0;
      for (let r = 0; r < count; r++) {
        const i = at + <usize>r * stride + o;
        const g = relu && load<f32>(y + i) <= 0 ? <f32>0 : load<f32>(dy + i);
        a += g;
        b += g * (load<f32>(x + i) - m);
      }
      store<f32>(blockG + o, a);
      store<f32>(blockX + o, b);
    }
    for (let k = 0; k < c; k++) {
      const wide = <usize>k << 3, o = <usize>k << 2;
      store<f64>(sumG + wide, load<f64>(sumG + wide) + <f64>load<f32>(blockG + o));
      store<f64>(sumX + wide, load<f64>(sumX + wide) + <f64>load<f32>(blockX + o));
    }
  }
  for (let k = 0; k < c; k++) {
    const o = <usize>k << 2;
    const inv = 1.0 / Math.sqrt(<f64>load<f32>(variance + o) + <f64>eps);
    const dg = load<f64>(sumX + (<usize>k << 3)) * inv;
    const db = load<f64>(sumG + (<usize>k << 3));
    store<f32>(dgamma + o, <f32>dg);
    store<f32>(dbeta + o, <f32>db);
    const scale = inv * <f64>load<f32>(gamma + o);
    store<f32>(p + o, <f32>scale);
    store<f32>(q + o, <f32>((scale * dg * inv) / <f64>rows));
    store<f32>(s + o, <f32>((scale * db) / <f64>rows));
  }
  for (let start = 0; start < rows; start += ROWS) {
    const count = min(ROWS, rows - start);
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
