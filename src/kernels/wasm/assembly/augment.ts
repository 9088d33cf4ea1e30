// Augmentation of a batch of images of 8 or 16 bits by rows of parameters, one row a view. See data/view.ts for
// the meaning of a row. Order: crop and resize, grey (MoCo v1), jitter, grey (MoCo v2), blur,
// solarise, flip, normalise. Images of 1 or 3 channels are grey or RGB; of any other number, bands, jittered one by one.

// @ts-ignore: AssemblyScript decorator
@inline
function at(p: usize, i: i32): f32 {
  return load<f32>(p + (<usize>i << 2));
}

// @ts-ignore: AssemblyScript decorator
@inline
function put(p: usize, i: i32, v: f32): void {
  store<f32>(p + (<usize>i << 2), v);
}

// @ts-ignore: AssemblyScript decorator
@inline
function clamp01(v: f32): f32 {
  return max<f32>(0, min<f32>(1, v));
}

// @ts-ignore: AssemblyScript decorator
@inline
function clampVector(v: v128): v128 {
  return f32x4.max(f32x4.splat(0), f32x4.min(f32x4.splat(1), v));
}

// x = clamp(x * factor + offset) for n values.
function scale(x: usize, n: i32, factor: f32, offset: f32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const p = x + (<usize>i << 2);
    v128.store(p, clampVector(f32x4.add(f32x4.mul(v128.load(p), f32x4.splat(factor)), f32x4.splat(offset))));
  }
  for (; i < n; i++) put(x, i, clamp01(at(x, i) * factor + offset));
}

// Triangle-filter weights of one output coordinate (bilinear with antialias). Returns first source index;
// weights go to `weights`, their count to weights[-1] (stored as f32).
function taps(out: i32, inSize: f32, outSize: i32, weights: usize): i32 {
  const scale = inSize / <f32>outSize;
  const support = max<f32>(1, scale);
  const centre = (<f32>out + 0.5) * scale;
  const first = max<i32>(0, <i32>(centre - support + 0.5));
  const last = min<i32>(<i32>inSize, <i32>(centre + support + 0.5));
  let sum: f32 = 0;
  for (let i = first; i < last; i++) {
    const v = max<f32>(0, 1 - abs<f32>((<f32>i - centre + 0.5) / support));
    put(weights, i - first, v);
    sum += v;
  }
  for (let i = 0; i < last - first; i++) put(weights, i, at(weights, i) / sum);
  put(weights, -1, <f32>(last - first));
  return first;
}

// Three channels of a pixel and one value behind it, of 8 or 16 bits.
// @ts-ignore: AssemblyScript decorator
@inline
function pixelOf(p: usize, wide: bool): v128 {
  const whole = wide
    ? i32x4.extend_low_i16x8_u(v128.load64_zero(p))
    : i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(p)));
  return f32x4.convert_i32x4_s(whole);
}

// One column of the horizontal pass of RGB: a lane a channel, with the sums of the scalar pass in its order.
// @ts-ignore: AssemblyScript decorator
@inline
function columnOfPixels(from: usize, line: usize, to: usize, toLine: usize, rows: i32, weights: usize, count: i32, wide: bool): void {
  const pixel: usize = wide ? 6 : 3;
  for (let y = 0; y < rows; y++) {
    let s = f32x4.splat(0);
    let p = from;
    for (let i = 0; i < count; i++) {
      s = f32x4.add(s, f32x4.mul(f32x4.splat(at(weights, i)), pixelOf(p, wide)));
      p += pixel;
    }
    v128.store64_lane(to, s, 0);
    v128.store32_lane(to, s, 2, 8);
    from += line;
    to += toLine;
  }
}

// Crops [top, left, height, width] out of u8[H,W,C], or u16 where `wide`, and resizes to f32[S,S,C] in [0,1].
function cropResize(
  image: usize, w: i32, c: i32, row: usize, size: i32, tmp: usize, out: usize, weights: usize, wide: bool,
): void {
  const largest: f32 = wide ? 65535 : 255;
  const top = <i32>at(row, 0), left = <i32>at(row, 1), height = <i32>at(row, 2), width = <i32>at(row, 3);
  for (let x = 0; x < size; x++) { // tmp: f32[height, S, C]
    const first = left + taps(x, <f32>width, size, weights);
    const count = <i32>at(weights, -1);
    if (c == 3) {
      const begin = <usize>((top * w + first) * 3), column = tmp + (<usize>x * 12), columns = <usize>size * 12;
      if (wide) columnOfPixels(image + (begin << 1), <usize>w * 6, column, columns, height, weights, count, true);
      else columnOfPixels(image + begin, <usize>w * 3, column, columns, height, weights, count, false);
      continue;
    }
    for (let y = 0; y < height; y++) {
      for (let k = 0; k < c; k++) {
        let s: f32 = 0;
        const from = ((top + y) * w + first) * c + k;
        if (wide) {
          for (let i = 0; i < count; i++) s += at(weights, i) * <f32>load<u16>(image + (<usize>(from + i * c) << 1));
        } else {
          for (let i = 0; i < count; i++) s += at(weights, i) * <f32>load<u8>(image + <usize>(from + i * c));
        }
        put(tmp, (y * size + x) * c + k, s);
      }
    }
  }
  const line = size * c;
  for (let y = 0; y < size; y++) {
    const first = taps(y, <f32>height, size, weights);
    const count = <i32>at(weights, -1);
    let j = 0;
    for (; j + 4 <= line; j += 4) {
      let s = f32x4.splat(0);
      let from = tmp + (<usize>(first * line + j) << 2);
      for (let i = 0; i < count; i++) {
        s = f32x4.add(s, f32x4.mul(f32x4.splat(at(weights, i)), v128.load(from)));
        from += <usize>line << 2;
      }
      v128.store(out + (<usize>(y * line + j) << 2), clampVector(f32x4.div(s, f32x4.splat(largest))));
    }
    for (; j < line; j++) {
      let s: f32 = 0;
      for (let i = 0; i < count; i++) s += at(weights, i) * at(tmp, (first + i) * line + j);
      put(out, y * line + j, clamp01(s / largest));
    }
  }
}

// @ts-ignore: AssemblyScript decorator
@inline
function luma(p: usize): f32 {
  return 0.2989 * at(p, 0) + 0.587 * at(p, 1) + 0.114 * at(p, 2);
}

function brightness(x: usize, n: i32, factor: f32): void {
  scale(x, n, factor, 0);
}

function contrast(x: usize, pixels: i32, c: i32, factor: f32): void {
  let sum: f64 = 0;
  for (let i = 0; i < pixels; i++) {
    const p = x + (<usize>(i * c) << 2);
    sum += <f64>(c == 3 ? luma(p) : at(p, 0));
  }
  const mean = <f32>(sum / <f64>pixels);
  scale(x, pixels * c, factor, (1 - factor) * mean);
}

function saturation(x: usize, pixels: i32, factor: f32): void {
  for (let i = 0; i < pixels; i++) {
    const p = x + (<usize>(i * 3) << 2);
    const grey = luma(p);
    for (let k = 0; k < 3; k++) put(p, k, clamp01(at(p, k) * factor + (1 - factor) * grey));
  }
}

// Brightness (0) or contrast (1) of each band by a factor of its own, f32[C] at `factors`.
function jitterBands(x: usize, pixels: i32, c: i32, op: i32, factors: usize): void {
  for (let k = 0; k < c; k++) {
    const factor = at(factors, k);
    let sum: f64 = 0;
    if (op == 1) for (let i = 0; i < pixels; i++) sum += <f64>at(x, i * c + k);
    const offset: f32 = (<f32>1 - factor) * <f32>(sum / <f64>pixels);
    for (let i = k; i < pixels * c; i += c) put(x, i, clamp01(at(x, i) * factor + offset));
  }
}

// RGB -> HSV, hue + shift (in turns), HSV -> RGB.
function hue(x: usize, pixels: i32, shift: f32): void {
  for (let i = 0; i < pixels; i++) {
    const p = x + (<usize>(i * 3) << 2);
    const r = at(p, 0), g = at(p, 1), b = at(p, 2);
    const v = max<f32>(r, max<f32>(g, b));
    const d = v - min<f32>(r, min<f32>(g, b));
    if (d == 0) continue;
    let h: f32 = v == r ? (g - b) / d : v == g ? 2 + (b - r) / d : 4 + (r - g) / d;
    h = h / 6 + shift;
    h = (h - floor<f32>(h)) * 6;
    const sector = <i32>floor<f32>(h);
    const f = h - <f32>sector;
    const lo = v - d, q = v - d * f, t = v - d * (1 - f);
    const s = sector % 6;
    put(p, 0, s == 0 || s == 5 ? v : s == 1 ? q : s == 4 ? t : lo);
    put(p, 1, s == 1 || s == 2 ? v : s == 3 ? q : s == 0 ? t : lo);
    put(p, 2, s == 3 || s == 4 ? v : s == 5 ? q : s == 2 ? t : lo);
  }
}

// PIL inverts bytes of 128 and more; halfway below it no rounding of a resize decides.
function solarise(x: usize, n: i32): void {
  for (let i = 0; i < n; i++) {
    const v = at(x, i);
    if (v >= <f32>127.5 / 255) put(x, i, 1 - v);
  }
}

// exp(-x) for x >= 0. AssemblyScript's Math.exp brings a table, and this module may hold no static data.
function expNegative(x: f64): f64 {
  const y = -x / 256;
  let e = 1 + y * (1 + y / 2 * (1 + y / 3 * (1 + y / 4 * (1 + y / 5 * (1 + y / 6 * (1 + y / 7))))));
  for (let i = 0; i < 8; i++) e *= e;
  return e;
}

// Separable Gaussian, radius ceil(3 sigma) but below `size`, mirrored at the border (the edge pixel not repeated).
function blur(x: usize, size: i32, c: i32, sigma: f32, tmp: usize, weights: usize): void {
  const radius = min<i32>(size - 1, <i32>ceil<f32>(3 * sigma));
  const base = expNegative(0.5 / (<f64>sigma * <f64>sigma));
  let sum: f64 = 1;
  let v: f64 = 1, odd: f64 = base; // exp(-i*i/2s^2) by i*i = 1 + 3 + 5 + ...
  put(weights, radius, 1);
  for (let i = 1; i <= radius; i++) {
    v *= odd;
    odd *= base * base;
    put(weights, radius + i, <f32>v);
    put(weights, radius - i, <f32>v);
    sum += 2 * v;
  }
  for (let i = 0; i <= 2 * radius; i++) put(weights, i, <f32>(<f64>at(weights, i) / sum));
  const line = size * c;
  for (let y = 0; y < size; y++) {
    const from = x + (<usize>(y * line) << 2), to = tmp + (<usize>(y * line) << 2);
    // Away from the border a window of the line is as good as any other: four values at a time.
    const inner = (size - radius) * c;
    let j = 0;
    for (; j < min(radius * c, line); j++) put(to, j, blurred(from, j / c, c, j % c, size, radius, weights));
    for (; j + 4 <= inner; j += 4) {
      let s = f32x4.splat(0);
      let p = from + (<usize>(j - radius * c) << 2);
      for (let i = 0; i <= 2 * radius; i++) {
        s = f32x4.add(s, f32x4.mul(f32x4.splat(at(weights, i)), v128.load(p)));
        p += <usize>c << 2;
      }
      v128.store(to + (<usize>j << 2), s);
    }
    for (; j < line; j++) put(to, j, blurred(from, j / c, c, j % c, size, radius, weights));
  }
  for (let y = 0; y < size; y++) {
    const to = x + (<usize>(y * line) << 2);
    let j = 0;
    for (; j + 4 <= line; j += 4) {
      let s = f32x4.splat(0);
      for (let i = -radius; i <= radius; i++) {
        const p = tmp + (<usize>(mirrored(y + i, size) * line + j) << 2);
        s = f32x4.add(s, f32x4.mul(f32x4.splat(at(weights, i + radius)), v128.load(p)));
      }
      v128.store(to + (<usize>j << 2), s);
    }
    for (; j < line; j++) put(to, j, blurred(tmp, y, line, j, size, radius, weights));
  }
}

// @ts-ignore: AssemblyScript decorator
@inline
function mirrored(i: i32, size: i32): i32 {
  const q = i < 0 ? -i : i;
  return q >= size ? 2 * (size - 1) - q : q;
}

// The window around place `u` of a line whose places lie `step` values apart, of value `k` of each.
function blurred(from: usize, u: i32, step: i32, k: i32, size: i32, radius: i32, weights: usize): f32 {
  let s: f32 = 0;
  for (let i = -radius; i <= radius; i++) s += at(weights, i + radius) * at(from, mirrored(u + i, size) * step + k);
  return s;
}

// (x - mean) / std of each channel.
function normalise(x: usize, pixels: i32, c: i32, stats: usize): void {
  const all = pixels * c;
  let i = 0;
  if (c == 3) {
    // Four pixels are three vectors.
    const m0 = at(stats, 0), m1 = at(stats, 1), m2 = at(stats, 2), s0 = at(stats, 3), s1 = at(stats, 4), s2 = at(stats, 5);
    for (; i + 12 <= all; i += 12) {
      const p = x + (<usize>i << 2);
      v128.store(p, f32x4.div(f32x4.sub(v128.load(p), f32x4(m0, m1, m2, m0)), f32x4(s0, s1, s2, s0)));
      v128.store(p, f32x4.div(f32x4.sub(v128.load(p, 16), f32x4(m1, m2, m0, m1)), f32x4(s1, s2, s0, s1)), 16);
      v128.store(p, f32x4.div(f32x4.sub(v128.load(p, 32), f32x4(m2, m0, m1, m2)), f32x4(s2, s0, s1, s2)), 32);
    }
  } else if (c == 1) {
    const mean = f32x4.splat(at(stats, 0)), std = f32x4.splat(at(stats, 1));
    for (; i + 4 <= all; i += 4) {
      const p = x + (<usize>i << 2);
      v128.store(p, f32x4.div(f32x4.sub(v128.load(p), mean), std));
    }
  }
  for (; i < all; i++) put(x, i, (at(x, i) - at(stats, i % c)) / at(stats, c + i % c));
}

/**
 * images u8[N,H,W,C], or u16 where `wide` is 1, rows f32[N,17], of bands f32[N,17+2*C], stats f32[2*C] (mean, std)
 * -> out f32[N,S,S,C].
 * scratch: (max(H,W)*S*C + S*S*C + 2*max(H,W,S) + 8) floats.
 */
export function augment(
  images: usize, rows: usize, stats: usize, out: usize, scratch: usize, n: i32, h: i32, w: i32, c: i32, size: i32,
  wide: i32,
): void {
  const side = max(h, size);
  const tmp = scratch;
  const weights = scratch + ((<usize>(side * size * c + 2)) << 2);
  const pixels = size * size;
  const bands = c != 1 && c != 3;
  const rowBytes = bands ? 68 + 8 * c : 68;
  for (let i = 0; i < n; i++) {
    const row = rows + <usize>(i * rowBytes);
    const view = out + ((<usize>(i * pixels * c)) << 2);
    cropResize(images + (<usize>(i * h * w * c) << wide), w, c, row, size, tmp, view, weights, wide != 0);
    if (at(row, 14) == 2 && c == 3) saturation(view, pixels, 0);
    if (at(row, 5) != 0) {
      for (let o = 10; o < 14; o++) {
        const op = <i32>at(row, o);
        if (bands) { if (op < 2) jitterBands(view, pixels, c, op, row + <usize>(68 + 4 * op * c)); }
        else if (op == 0) brightness(view, pixels * c, at(row, 6));
        else if (op == 1) contrast(view, pixels, c, at(row, 7));
        else if (op == 2) { if (c == 3) saturation(view, pixels, at(row, 8)); }
        else if (c == 3) hue(view, pixels, at(row, 9));
      }
    }
    if (at(row, 14) == 1 && c == 3) saturation(view, pixels, 0);
    if (at(row, 15) > 0) blur(view, size, c, at(row, 15), tmp, weights);
    if (at(row, 16) != 0) solarise(view, pixels * c);
    const flip = at(row, 4) != 0;
    for (let y = 0; y < size; y++) {
      const half = flip ? size / 2 : 0;
      for (let x = 0; x < half; x++) {
        for (let k = 0; k < c; k++) {
          const a = (y * size + x) * c + k, b = (y * size + size - 1 - x) * c + k;
          const v = at(view, a);
          put(view, a, at(view, b));
          put(view, b, v);
        }
      }
    }
    normalise(view, pixels, c, stats);
  }
}
