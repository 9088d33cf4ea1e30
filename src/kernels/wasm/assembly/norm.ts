// Batch normalisation over rows f32[R, C] (R = N*H*W, channels innermost), fused with a residual add and ReLU.
// Sums run in float32 per block of rows and in float64 across blocks: one pass for the mean, one for the variance.

const ROWS: i32 = 256;

// Adds the column sums of f(x) over all rows into `sums` f64[C]. mode 0: x. mode 1: (x - mean)^2.
function columnSums(x: usize, mean: usize, sums: usize, block: usize, rows: i32, c: i32, mode: i32): void {
  memory.fill(sums, 0, <usize>c << 3);
  const stride = <usize>c << 2;
  for (let start = 0; start < rows; start += ROWS) {
    const end = min(rows, start + ROWS);
    let j = 0;
    for (; j + 4 <= c; j += 4) {
      let s = f32x4.splat(0);
      let at = x + <usize>start * stride + (<usize>j << 2);
      if (mode == 0) {
        for (let r = start; r < end; r++) { s = f32x4.add(s, v128.load(at)); at += stride; }
      } else {
        const m = v128.load(mean + (<usize>j << 2));
        for (let r = start; r < end; r++) {
          const d = f32x4.sub(v128.load(at), m);
          s = f32x4.add(s, f32x4.mul(d, d));
          at += stride;
        }
      }
      v128.store(block + (<usize>j << 2), s);
    }
    for (; j < c; j++) {
      let s: f32 = 0;
      const m = mode == 0 ? <f32>0 : load<f32>(mean + (<usize>j << 2));
      for (let r = start; r < end; r++) {
        const v = load<f32>(x + <usize>r * stride + (<usize>j << 2)) - m;
        s += mode == 0 ? v : v * v;
      }
      store<f32>(block + (<usize>j << 2), s);
    }
    for (let k = 0; k < c; k++) {
      const at = sums + (<usize>k << 3);
      store<f64>(at, load<f64>(at) + <f64>load<f32>(block + (<usize>k << 2)));
    }
  }
}

/** mean f32[C] and biased variance f32[C] of x f32[R,C]. scratch: C*12 bytes. */
export function moments(x: usize, mean: usize, variance: usize, scratch: usize, rows: i32, c: i32): void {
  const block = scratch + (<usize>c << 3);
  columnSums(x, 0, scratch, block, rows, c, 0);
  for (let j = 0; j < c; j++) store<f32>(mean + (<usize>j << 2), <f32>(load<f64>(scratch + (<usize>j << 3)) / <f64>rows));
  columnSums(x, mean, scratch, block, rows, c, 1);
  for (let j = 0; j < c; j++) store<f32>(variance + (<usize>j << 2), <f32>(load<f64>(scratch + (<usize>j << 3)) / <f64>rows));
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
  const zero = f32x4.splat(0);
  for (let r = 0; r < rows; r++) {
    const row = (<usize>(r * c)) << 2;
    let j = 0;
    for (; j + 4 <= c; j += 4) {
      const o = <usize>j << 2;
      let v = f32x4.add(f32x4.mul(v128.load(x + row + o), v128.load(scale + o)), v128.load(shift + o));
      if (residual) v = f32x4.add(v, v128.load(residual + row + o));
      if (relu) v = f32x4.max(v, zero);
      v128.store(y + row + o, v);
    }
    for (; j < c; j++) {
      const o = <usize>j << 2;
      let v = load<f32>(x + row + o) * load<f32>(scale + o) + load<f32>(shift + o);
      if (residual) v += load<f32>(residual + row + o);
      if (relu && v < 0) v = 0;
      store<f32>(y + row + o, v);
    }
  }
}

/**
 * Backward of moments + normalise. g = dy where y > 0 (relu) else dy; `dResidual` (0: none) receives g.
 * dbeta = sum g; dgamma = sum g*xhat; dx = gamma*invstd*(g - dbeta/R - xhat*dgamma/R)   (Ioffe & Szegedy 2015, §3).
 * scratch: C*36 bytes.
 */
export function normaliseGrad(
  x: usize, gamma: usize, mean: usize, variance: usize, y: usize, dy: usize,
  dx: usize, dgamma: usize, dbeta: usize, dResidual: usize, scratch: usize,
  rows: i32, c: i32, eps: f32, relu: i32,
): void {
  const sumG = scratch, sumX = scratch + (<usize>c << 3);
  const inv = scratch + (<usize>c << 4);
  const k1 = inv + (<usize>c << 2), k2 = k1 + (<usize>c << 2), bg = k2 + (<usize>c << 2), bx = bg + (<usize>c << 2);
  memory.fill(scratch, 0, <usize>c << 4);
  for (let j = 0; j < c; j++) {
    store<f32>(inv + (<usize>j << 2), <f32>(1.0 / Math.sqrt(<f64>load<f32>(variance + (<usize>j << 2)) + <f64>eps)));
  }
  const zero = f32x4.splat(0);
  for (let start = 0; start < rows; start += ROWS) {
    const end = min(rows, start + ROWS);
    let j = 0;
    for (; j + 4 <= c; j += 4) {
      const o = <usize>j << 2;
      const m = v128.load(mean + o);
      let s = zero, t = zero;
      for (let r = start; r < end; r++) {
        const at = ((<usize>(r * c)) << 2) + o;
        let g = v128.load(dy + at);
        if (relu) g = v128.and(g, f32x4.gt(v128.load(y + at), zero));
        s = f32x4.add(s, g);
        t = f32x4.add(t, f32x4.mul(g, f32x4.sub(v128.load(x + at), m)));
      }
      v128.store(bg + o, s);
      v128.store(bx + o, t);
    }
    for (; j < c; j++) {
      const o = <usize>j << 2;
      let s: f32 = 0, t: f32 = 0;
      for (let r = start; r < end; r++) {
        const at = ((<usize>(r * c)) << 2) + o;
        const g = relu && load<f32>(y + at) <= 0 ? <f32>0 : load<f32>(dy + at);
        s += g;
        t += g * (load<f32>(x + at) - load<f32>(mean + o));
      }
      store<f32>(bg + o, s);
      store<f32>(bx + o, t);
    }
    for (let k = 0; k < c; k++) {
      const o8 = <usize>k << 3, o4 = <usize>k << 2;
      store<f64>(sumG + o8, load<f64>(sumG + o8) + <f64>load<f32>(bg + o4));
      store<f64>(sumX + o8, load<f64>(sumX + o8) + <f64>load<f32>(bx + o4));
    }
  }
  for (let k = 0; k < c; k++) {
    const o = <usize>k << 2;
    const i = <f64>load<f32>(inv + o);
    const dg = load<f64>(sumX + (<usize>k << 3)) * i;
    const db = load<f64>(sumG + (<usize>k << 3));
    store<f32>(dgamma + o, <f32>dg);
    store<f32>(dbeta + o, <f32>db);
    store<f32>(k1 + o, <f32>(db / <f64>rows));
    store<f32>(k2 + o, <f32>(dg * i / <f64>rows));
    store<f32>(inv + o, <f32>(i * <f64>load<f32>(gamma + o)));
  }
  for (let r = 0; r < rows; r++) {
    const row = (<usize>(r * c)) << 2;
    let j = 0;
    for (; j + 4 <= c; j += 4) {
      const o = <usize>j << 2;
      let g = v128.load(dy + row + o);
      if (relu) g = v128.and(g, f32x4.gt(v128.load(y + row + o), zero));
      if (dResidual) v128.store(dResidual + row + o, g);
      const d = f32x4.sub(v128.load(x + row + o), v128.load(mean + o));
      const v = f32x4.sub(f32x4.sub(g, v128.load(k1 + o)), f32x4.mul(d, v128.load(k2 + o)));
      v128.store(dx + row + o, f32x4.mul(v, v128.load(inv + o)));
    }
    for (; j < c; j++) {
      const o = <usize>j << 2;
      const g = relu && load<f32>(y + row + o) <= 0 ? <f32>0 : load<f32>(dy + row + o);
      if (dResidual) store<f32>(dResidual + row + o, g);
      const d = load<f32>(x + row + o) - load<f32>(mean + o);
      store<f32>(dx + row + o, (g - load<f32>(k1 + o) - d * load<f32>(k2 + o)) * load<f32>(inv + o));
    }
  }
}
