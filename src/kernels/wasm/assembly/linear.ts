// What follows the product of a linear layer, while its rows are in the cache: bias and GELU.

import { erf4, exp4, widen } from "./functions";

const ROOT_HALF: f32 = 0.70710678118654752; // 1 / sqrt(2)
const DENSITY: f32 = 0.39894228040143268; // 1 / sqrt(2 pi)

// Phi(z), the distribution function of the normal distribution.
// @ts-ignore: AssemblyScript decorator
@inline
function phi4(z: v128): v128 {
  const half = f32x4.splat(0.5);
  return f32x4.add(half, f32x4.mul(half, erf4(f32x4.mul(z, f32x4.splat(ROOT_HALF)))));
}

// @ts-ignore: AssemblyScript decorator
@inline
function gelu4(z: v128): v128 {
  return f32x4.mul(z, phi4(z));
}

// d gelu(z) / dz = Phi(z) + z * phi(z)
// @ts-ignore: AssemblyScript decorator
@inline
function geluSlope4(z: v128): v128 {
  const density = f32x4.mul(exp4(f32x4.mul(f32x4.mul(z, z), f32x4.splat(-0.5))), f32x4.splat(DENSITY));
  return f32x4.add(phi4(z), f32x4.mul(z, density));
}

// The four numbers from `at` on, `count` of them: the others are 0.
// @ts-ignore: AssemblyScript decorator
@inline
function loadSome(at: usize, count: i32): v128 {
  let v = v128.load32_zero(at);
  if (count > 1) v = f32x4.replace_lane(v, 1, load<f32>(at, 4));
  if (count > 2) v = f32x4.replace_lane(v, 2, load<f32>(at, 8));
  return v;
}

// @ts-ignore: AssemblyScript decorator
@inline
function storeSome(at: usize, v: v128, count: i32): void {
  store<f32>(at, f32x4.extract_lane(v, 0));
  if (count > 1) store<f32>(at, f32x4.extract_lane(v, 1), 4);
  if (count > 2) store<f32>(at, f32x4.extract_lane(v, 2), 8);
}

/** z f32[R,C] += bias f32[C] in place; y = gelu(z), unless y is 0. */
export function addBias(z: usize, bias: usize, y: usize, rows: i32, c: i32): void {
  const fours = c & ~3, rest = c & 3;
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < fours; j += 4) {
      const o = <usize>j << 2;
      const v = f32x4.add(v128.load(z + o), v128.load(bias + o));
      v128.store(z + o, v);
      if (y) v128.store(y + o, gelu4(v));
    }
    if (rest) {
      const o = <usize>fours << 2;
      const v = f32x4.add(loadSome(z + o, rest), loadSome(bias + o, rest));
      storeSome(z + o, v, rest);
      if (y) storeSome(y + o, gelu4(v), rest);
    }
    z += <usize>c << 2;
    if (y) y += <usize>c << 2;
  }
}

// Rows whose sums run in float32 before they are added up in float64.
const ROWS: i32 = 64;

/**
 * dbias f32[C], the sums over rows of dz. z not 0: dz f32[R,C] = dy * slope of GELU at z; else dz is dy, and not written.
 * scratch: C*12 bytes.
 */
export function biasGrad(z: usize, dy: usize, dz: usize, dbias: usize, scratch: usize, rows: i32, c: i32): void {
  const wide = scratch; // f64[C]
  const narrow = scratch + (<usize>c << 3); // f32[C]
  memory.fill(scratch, 0, <usize>c * 12);
  const fours = c & ~3, rest = c & 3;
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < fours; j += 4) {
      const o = <usize>j << 2;
      let g = v128.load(dy + o);
      if (z) {
        g = f32x4.mul(g, geluSlope4(v128.load(z + o)));
        v128.store(dz + o, g);
      }
      v128.store(narrow + o, f32x4.add(v128.load(narrow + o), g));
    }
    if (rest) {
      const o = <usize>fours << 2;
      let g = loadSome(dy + o, rest);
      if (z) {
        g = f32x4.mul(g, geluSlope4(loadSome(z + o, rest)));
        storeSome(dz + o, g, rest);
      }
      storeSome(narrow + o, f32x4.add(loadSome(narrow + o, rest), g), rest);
    }
    dy += <usize>c << 2;
    if (z) { z += <usize>c << 2; dz += <usize>c << 2; }
    if ((row + 1) % ROWS == 0 || row + 1 == rows) widen(narrow, wide, c);
  }
  for (let k = 0; k < c; k++) store<f32>(dbias + (<usize>k << 2), <f32>load<f64>(wide + (<usize>k << 3)));
}
