// Layer normalisation over the rows of f32[R,C] (Ba et al. 2016). A row is in the first cache while it is passed over thrice.

import { total, widen } from "./functions";

// Rows whose sums of a gradient run in float32 before they are added up in float64.
const ROWS: i32 = 64;

/** y = (x - mean) * inverse * gamma + beta; stats f32[R,2]: mean and inverse = 1 / sqrt(variance + eps) of each row. */
export function layerNorm(
  x: usize, gamma: usize, beta: usize, y: usize, stats: usize, rows: i32, c: i32, eps: f64,
): void {
  const fours = c & ~3;
  for (let row = 0; row < rows; row++) {
    let sum = f32x4.splat(0);
    for (let j = 0; j < fours; j += 4) sum = f32x4.add(sum, v128.load(x + (<usize>j << 2)));
    let all = total(sum);
    for (let j = fours; j < c; j++) all += <f64>load<f32>(x + (<usize>j << 2));
    const mean = <f32>(all / <f64>c);
    const m = f32x4.splat(mean);
    let square = f32x4.splat(0);
    for (let j = 0; j < fours; j += 4) {
      const d = f32x4.sub(v128.load(x + (<usize>j << 2)), m);
      square = f32x4.add(square, f32x4.mul(d, d));
    }
    let squares = total(square);
    for (let j = fours; j < c; j++) {
      const d = <f64>(load<f32>(x + (<usize>j << 2)) - mean);
      squares += d * d;
    }
    const inverse = <f32>(1.0 / Math.sqrt(squares / <f64>c + eps));
    const s = f32x4.splat(inverse);
    for (let j = 0; j < fours; j += 4) {
      const o = <usize>j << 2;
      const xhat = f32x4.mul(f32x4.sub(v128.load(x + o), m), s);
      v128.store(y + o, f32x4.add(f32x4.mul(xhat, v128.load(gamma + o)), v128.load(beta + o)));
    }
    for (let j = fours; j < c; j++) {
      const o = <usize>j << 2;
      store<f32>(y + o, (load<f32>(x + o) - mean) * inverse * load<f32>(gamma + o) + load<f32>(beta + o));
    }
    store<f32>(stats, mean);
    store<f32>(stats, inverse, 4);
    x += <usize>c << 2; y += <usize>c << 2; stats += 8;
  }
}

/**
 * With g = dy * gamma: dx = inverse * (g - mean(g) - xhat * mean(g * xhat)); dgamma = sum of dy * xhat, dbeta = sum of dy,
 * over the rows. scratch: C*24 bytes.
 */
export function layerNormGrad(
  x: usize, gamma: usize, stats: usize, dy: usize, dx: usize, dgamma: usize, dbeta: usize, scratch: usize,
  rows: i32, c: i32,
): void {
  const wide = scratch; // f64[2,C]
  const narrow = scratch + (<usize>c << 4); // f32[2,C]
  const second = <usize>c << 2;
  memory.fill(scratch, 0, <usize>c * 24);
  const fours = c & ~3;
  for (let row = 0; row < rows; row++) {
    const mean = load<f32>(stats), inverse = load<f32>(stats, 4);
    const m = f32x4.splat(mean), s = f32x4.splat(inverse);
    let sumG = f32x4.splat(0), sumX = f32x4.splat(0);
    for (let j = 0; j < fours; j += 4) {
      const o = <usize>j << 2, d = v128.load(dy + o);
      const xhat = f32x4.mul(f32x4.sub(v128.load(x + o), m), s);
      const g = f32x4.mul(d, v128.load(gamma + o));
      sumG = f32x4.add(sumG, g);
      sumX = f32x4.add(sumX, f32x4.mul(g, xhat));
      v128.store(narrow + o, f32x4.add(v128.load(narrow + o), f32x4.mul(d, xhat)));
      v128.store(narrow + second + o, f32x4.add(v128.load(narrow + second + o), d));
    }
    let allG = total(sumG), allX = total(sumX);
    for (let j = fours; j < c; j++) {
      const o = <usize>j << 2, d = load<f32>(dy + o);
      const xhat = (load<f32>(x + o) - mean) * inverse;
      const g = d * load<f32>(gamma + o);
      allG += <f64>g;
      allX += <f64>(g * xhat);
      store<f32>(narrow + o, load<f32>(narrow + o) + d * xhat);
      store<f32>(narrow + second + o, load<f32>(narrow + second + o) + d);
    }
    const meanG = <f32>(allG / <f64>c), meanX = <f32>(allX / <f64>c);
    const a = f32x4.splat(meanG), b = f32x4.splat(meanX);
    for (let j = 0; j < fours; j += 4) {
      const o = <usize>j << 2;
      const xhat = f32x4.mul(f32x4.sub(v128.load(x + o), m), s);
      const g = f32x4.mul(v128.load(dy + o), v128.load(gamma + o));
      v128.store(dx + o, f32x4.mul(s, f32x4.sub(f32x4.sub(g, a), f32x4.mul(xhat, b))));
    }
    for (let j = fours; j < c; j++) {
      const o = <usize>j << 2;
      const xhat = (load<f32>(x + o) - mean) * inverse;
      store<f32>(dx + o, inverse * (load<f32>(dy + o) * load<f32>(gamma + o) - meanG - xhat * meanX));
    }
    if ((row + 1) % ROWS == 0 || row + 1 == rows) widen(narrow, wide, 2 * c);
    x += <usize>c << 2; dy += <usize>c << 2; dx += <usize>c << 2; stats += 8;
  }
  for (let k = 0; k < c; k++) {
    store<f32>(dgamma + (<usize>k << 2), <f32>load<f64>(wide + (<usize>k << 3)));
    store<f32>(dbeta + (<usize>k << 2), <f32>load<f64>(wide + (<usize>(c + k) << 3)));
  }
}
