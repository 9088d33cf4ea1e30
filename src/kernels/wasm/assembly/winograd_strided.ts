// Winograd for a 3x3 convolution of stride 2. In one dimension four outputs read nine inputs: the first and third tap
// meet only those at odd places (counted from the first: 0, 2, 4, 6, 8), a convolution of two taps and stride 1, which
// F(4,2) does with five products at the points 0, 1, -1, 2 and infinity; the middle tap meets the other four, one
// product each. So nine products do what twelve did, and in two dimensions 81 what 144 did. The matrices:
//
//     T (9x9) input -> points     G (6x3) taps -> points, the sixth serving the four even ones     A (9x4) outputs
//
//     y = A' [(G w G') . (T x T')] A     dx = T' [(G w G') . (A dy A')] T     dw = G' [(T x T') . (A dy A')] G
//
// Layouts: x f32[N,H,W,Ci], y f32[N,OH,OW,Co], filter f32[3,3,Ci,Co]. Point q = 9 * row + column.

import { accumulate48, product } from "./gemm";
import { by, fillTile, gather, GAP, locate, tileImage, tileX, tileY } from "./winograd";

const SIDE: i32 = 9;
const POINTS: i32 = 81;
// Different filters: five odd points and one even one, squared.
const FILTERS: i32 = 36;
// One tile between its two passes, and the table of its pixels.
const TILE_BYTES: usize = 81 * 16 + 81 * 4 + 60;

// @ts-ignore: AssemblyScript decorator
@inline
function filterOf(q: i32): usize {
  return <usize>(min(q / SIDE, 5) * 6 + min(q % SIDE, 5));
}

// T: nine vectors, `step` bytes apart at `from` -> nine at `to`: five odd points, then the even inputs.
// @ts-ignore: AssemblyScript decorator
@inline
function intoPoints(
  d0: v128, e0: v128, d1: v128, e1: v128, d2: v128, e2: v128, d3: v128, e3: v128, d4: v128, to: usize, step: usize,
): void {
  const a = f32x4.sub(d3, d2), b = by(d1, 2);
  v128.store(to, f32x4.add(f32x4.sub(by(f32x4.sub(d0, d2), 2), d1), d3));
  v128.store(to + step, f32x4.sub(a, b));
  v128.store(to + 2 * step, f32x4.add(f32x4.sub(a, by(d2, 2)), b));
  v128.store(to + 3 * step, f32x4.sub(d3, d1));
  v128.store(to + 4 * step, f32x4.add(f32x4.sub(by(f32x4.sub(d1, d3), 2), d2), d4));
  v128.store(to + 5 * step, e0);
  v128.store(to + 6 * step, e1);
  v128.store(to + 7 * step, e2);
  v128.store(to + 8 * step, e3);
}

// T': nine points -> nine places.
// @ts-ignore: AssemblyScript decorator
@inline
function intoPlaces(from: usize, step: usize, to: usize, toStep: usize): void {
  const v0 = v128.load(from), v1 = v128.load(from + step), v2 = v128.load(from + 2 * step);
  const v3 = v128.load(from + 3 * step), v4 = v128.load(from + 4 * step);
  const twice4 = by(v4, 2);
  v128.store(to, by(v0, 2));
  v128.store(to + 2 * toStep, f32x4.add(f32x4.sub(f32x4.sub(by(f32x4.sub(v2, v1), 2), v0), v3), twice4));
  v128.store(to + 4 * toStep, f32x4.sub(f32x4.sub(f32x4.sub(by(v0, -2), v1), by(v2, 3)), v4));
  v128.store(to + 6 * toStep, f32x4.sub(f32x4.add(f32x4.add(v0, v1), f32x4.add(v2, v3)), twice4));
  v128.store(to + 8 * toStep, v4);
  v128.store(to + toStep, v128.load(from + 5 * step));
  v128.store(to + 3 * toStep, v128.load(from + 6 * step));
  v128.store(to + 5 * toStep, v128.load(from + 7 * step));
  v128.store(to + 7 * toStep, v128.load(from + 8 * step));
}

// A: four vectors of dy -> nine points.
// @ts-ignore: AssemblyScript decorator
@inline
function gradIntoPoints(g0: v128, g1: v128, g2: v128, g3: v128, to: usize, step: usize): void {
  const even = f32x4.add(g0, g2), odd = f32x4.add(g1, g3);
  v128.store(to, g0);
  v128.store(to + step, f32x4.add(even, odd));
  v128.store(to + 2 * step, f32x4.sub(even, odd));
  v128.store(to + 3 * step, f32x4.add(f32x4.add(g0, by(g2, 4)), f32x4.add(by(g1, 2), by(g3, 8))));
  v128.store(to + 4 * step, g3);
  v128.store(to + 5 * step, g0);
  v128.store(to + 6 * step, g1);
  v128.store(to + 7 * step, g2);
  v128.store(to + 8 * step, g3);
}

// A': nine points -> four outputs.
// @ts-ignore: AssemblyScript decorator
@inline
function intoOutputs(from: usize, step: usize, to: usize, toStep: usize): void {
  const m1 = v128.load(from + step), m2 = v128.load(from + 2 * step), m3 = v128.load(from + 3 * step);
  const s = f32x4.add(m1, m2), d = f32x4.sub(m1, m2);
  v128.store(to, f32x4.add(f32x4.add(f32x4.add(v128.load(from), s), m3), v128.load(from + 5 * step)));
  v128.store(to + toStep, f32x4.add(f32x4.add(d, by(m3, 2)), v128.load(from + 6 * step)));
  v128.store(to + 2 * toStep, f32x4.add(f32x4.add(s, by(m3, 4)), v128.load(from + 7 * step)));
  v128.store(
    to + 3 * toStep, f32x4.add(f32x4.add(f32x4.add(d, by(m3, 8)), v128.load(from + 4 * step)), v128.load(from + 8 * step)),
  );
}

// G: three taps -> six points.
// @ts-ignore: AssemblyScript decorator
@inline
function tapsIntoPoints(w0: v128, w1: v128, w2: v128, to: usize, step: usize): void {
  v128.store(to, by(w0, 0.5));
  v128.store(to + step, by(f32x4.add(w0, w2), -0.5));
  v128.store(to + 2 * step, by(f32x4.sub(w2, w0), 1.0 / 6));
  v128.store(to + 3 * step, f32x4.add(by(w0, 1.0 / 6), by(w2, 1.0 / 3)));
  v128.store(to + 4 * step, w2);
  v128.store(to + 5 * step, w1);
}

// G': six sums -> three taps.
// @ts-ignore: AssemblyScript decorator
@inline
function intoTaps(from: usize, step: usize, to: usize, toStep: usize): void {
  const s1 = by(v128.load(from + step), 0.5), s2 = by(v128.load(from + 2 * step), 1.0 / 6);
  const s3 = by(v128.load(from + 3 * step), 1.0 / 6);
  v128.store(to, f32x4.add(f32x4.sub(f32x4.sub(by(v128.load(from), 0.5), s1), s2), s3));
  v128.store(to + toStep, v128.load(from + 5 * step));
  v128.store(to + 2 * toStep, f32x4.add(f32x4.add(f32x4.sub(s2, s1), by(s3, 2)), v128.load(from + 4 * step)));
}

/** Bytes of the 36 filters f32[36, outer/8, inner, 8]. */
export function winogradStridedFilterBytes(inner: i32, outer: i32): i32 {
  return FILTERS * (inner * outer * 4 + <i32>GAP);
}

/** U of the forward pass: inner Ci, outer Co. `turned`: of the input gradient, inner Co, outer Ci. scratch: 288 bytes. */
export function winogradStridedFilter(w: usize, u: usize, scratch: usize, ci: i32, co: i32, turned: bool): void {
  const tap = <usize>(ci * co) << 2;
  const point = tap + GAP;
  const row = <usize>co << 2;
  const inner = turned ? co : ci, outer = turned ? ci : co;
  for (let i = 0; i < inner; i++) {
    for (let o = 0; o < outer; o += 4) {
      const at = w + (<usize>(turned ? o * co + i : i * co + o) << 2);
      for (let b = 0; b < 3; b++) {
        const p = at + <usize>b * tap;
        if (turned) tapsIntoPoints(gather(p, row), gather(p + 3 * tap, row), gather(p + 6 * tap, row), scratch + <usize>b * 16, 48);
        else tapsIntoPoints(v128.load(p), v128.load(p + 3 * tap), v128.load(p + 6 * tap), scratch + <usize>b * 16, 48);
      }
      const to = u + (<usize>(((o >> 3) * inner + i) * 8 + (o & 7)) << 2);
      for (let a = 0; a < 6; a++) {
        const line = scratch + <usize>a * 48;
        tapsIntoPoints(v128.load(line), v128.load(line, 16), v128.load(line, 32), to + <usize>(a * 6) * point, point);
      }
    }
  }
}

/** Bytes of scratch of `winogradStrided` and `winogradStridedInputGrad` for blocks of `block` tiles (a multiple of 4). */
export function winogradStridedScratchBytes(block: i32, inner: i32, outer: i32): i32 {
  return POINTS * (block * (inner + outer) * 4 + 2 * <i32>GAP) + inner * 4 + <i32>TILE_BYTES + 64;
}

// T x T' of four channels of a tile, whose 81 pixels `table` names.
// @ts-ignore: AssemblyScript decorator
@inline
function inputTile(table: usize, o: usize, tmp: usize, to: usize, point: usize): void {
  for (let j: usize = 0; j < 9; j++) {
    const t = table + j * 4;
    intoPoints(
      v128.load(<usize>load<u32>(t) + o), v128.load(<usize>load<u32>(t, 36) + o), v128.load(<usize>load<u32>(t, 72) + o),
      v128.load(<usize>load<u32>(t, 108) + o), v128.load(<usize>load<u32>(t, 144) + o), v128.load(<usize>load<u32>(t, 180) + o),
      v128.load(<usize>load<u32>(t, 216) + o), v128.load(<usize>load<u32>(t, 252) + o), v128.load(<usize>load<u32>(t, 288) + o),
      tmp + j * 16, 144,
    );
  }
  for (let i: usize = 0; i < 9; i++) {
    const r = tmp + i * 144;
    intoPoints(
      v128.load(r), v128.load(r, 16), v128.load(r, 32), v128.load(r, 48), v128.load(r, 64), v128.load(r, 80),
      v128.load(r, 96), v128.load(r, 112), v128.load(r, 128), to + 9 * i * point, point,
    );
  }
}

// A dy A' of four channels of a tile, whose 16 pixels are the top-left of `table` with rows of nine.
// @ts-ignore: AssemblyScript decorator
@inline
function gradTile(table: usize, o: usize, tmp: usize, to: usize, point: usize): void {
  for (let j: usize = 0; j < 4; j++) {
    const t = table + j * 4;
    gradIntoPoints(
      v128.load(<usize>load<u32>(t) + o), v128.load(<usize>load<u32>(t, 36) + o), v128.load(<usize>load<u32>(t, 72) + o),
      v128.load(<usize>load<u32>(t, 108) + o), tmp + j * 16, 64,
    );
  }
  for (let i: usize = 0; i < 9; i++) {
    const r = tmp + i * 64;
    gradIntoPoints(v128.load(r), v128.load(r, 16), v128.load(r, 32), v128.load(r, 48), to + 9 * i * point, point);
  }
}

/** Forward: y = conv(x, filter) of stride 2. ci % 4 == 0, co % 8 == 0; `u` is winogradStridedFilter's. */
export function winogradStrided(
  x: usize, u: usize, y: usize, scratch: usize, block: i32,
  n: i32, h: i32, w: i32, ci: i32, oh: i32, ow: i32, co: i32, padTop: i32, padLeft: i32,
): void {
  const tmp = (scratch + 15) & ~15;
  const table = tmp + 81 * 16;
  const inBytes = <usize>ci << 2, outBytes = <usize>co << 2;
  const vPoint = <usize>block * inBytes + GAP, mPoint = <usize>block * outBytes + GAP, uPoint = <usize>co * inBytes + GAP;
  const v = tmp + TILE_BYTES;
  const m = v + POINTS * vPoint;
  const zeros = m + POINTS * mPoint;
  memory.fill(zeros, 0, inBytes);
  const tilesY = (oh + 3) >> 2, tilesX = (ow + 3) >> 2;
  const tiles = n * tilesY * tilesX;
  for (let start = 0; start < tiles; start += block) {
    const count = min(block, tiles - start);
    const padded = (count + 3) & ~3;
    for (let t = 0; t < padded; t++) {
      const id = start + min(t, count - 1);
      locate(id, tilesY, tilesX);
      const image = tileImage, top = tileY * 2 - padTop, left = tileX * 2 - padLeft;
      fillTile(table, x + <usize>(image * h * w) * inBytes, top, left, h, w, inBytes, zeros, SIDE);
      for (let o: usize = 0; o < inBytes; o += 16) inputTile(table, o, tmp, v + <usize>t * inBytes + o, vPoint);
    }
    for (let q = 0; q < POINTS; q++) {
      const filter = u + filterOf(q) * uPoint;
      for (let k = 0; k < co; k += 8) {
        product(v + <usize>q * vPoint, inBytes, filter + <usize>k * inBytes, ci, m + <usize>q * mPoint + (<usize>k << 2), outBytes, padded);
      }
    }
    for (let t = 0; t < count; t++) {
      const id = start + t;
      locate(id, tilesY, tilesX);
      const image = tileImage, oy = tileY, ox = tileX;
      const to = y + <usize>((image * oh + oy) * ow + ox) * outBytes;
      const rows = min(4, oh - oy), columns = min(4, ow - ox);
      for (let o: usize = 0; o < outBytes; o += 16) {
        const from = m + <usize>t * outBytes + o;
        for (let j: usize = 0; j < 9; j++) intoOutputs(from + j * mPoint, 9 * mPoint, tmp + j * 16, 144);
        for (let i = 0; i < rows; i++) {
          const edge = tmp + 4 * 144;
          intoOutputs(tmp + <usize>i * 144, 16, edge, 16);
          const line = to + <usize>(i * ow) * outBytes + o;
          for (let j = 0; j < columns; j++) v128.store(line + <usize>j * outBytes, v128.load(edge + (<usize>j << 4)));
        }
      }
    }
  }
}

/**
 * Input gradient. Tiles overlap by one line, so they are added to dx one after another. co % 4 == 0, ci % 8 == 0; `u`
 * is winogradStridedFilter's, turned.
 */
export function winogradStridedInputGrad(
  dy: usize, u: usize, dx: usize, scratch: usize, block: i32,
  n: i32, h: i32, w: i32, ci: i32, oh: i32, ow: i32, co: i32, padTop: i32, padLeft: i32,
): void {
  const tmp = (scratch + 15) & ~15;
  const table = tmp + 81 * 16;
  const inBytes = <usize>ci << 2, outBytes = <usize>co << 2;
  const zPoint = <usize>block * outBytes + GAP, mPoint = <usize>block * inBytes + GAP, uPoint = <usize>co * inBytes + GAP;
  const z = tmp + TILE_BYTES;
  const m = z + POINTS * zPoint;
  const zeros = m + POINTS * mPoint;
  memory.fill(zeros, 0, outBytes);
  memory.fill(dx, 0, <usize>(n * h * w) * inBytes);
  const tilesY = (oh + 3) >> 2, tilesX = (ow + 3) >> 2;
  const tiles = n * tilesY * tilesX;
  for (let start = 0; start < tiles; start += block) {
    const count = min(block, tiles - start);
    const padded = (count + 3) & ~3;
    for (let t = 0; t < padded; t++) {
      const id = start + min(t, count - 1);
      locate(id, tilesY, tilesX);
      fillTile(table, dy + <usize>(tileImage * oh * ow) * outBytes, tileY, tileX, oh, ow, outBytes, zeros, SIDE);
      for (let o: usize = 0; o < outBytes; o += 16) gradTile(table, o, tmp, z + <usize>t * outBytes + o, zPoint);
    }
    for (let q = 0; q < POINTS; q++) {
      const filter = u + filterOf(q) * uPoint;
      for (let k = 0; k < ci; k += 8) {
        product(z + <usize>q * zPoint, outBytes, filter + <usize>k * outBytes, co, m + <usize>q * mPoint + (<usize>k << 2), inBytes, padded);
      }
    }
    for (let t = 0; t < count; t++) {
      const id = start + t;
      locate(id, tilesY, tilesX);
      const image = tileImage, top = tileY * 2 - padTop, left = tileX * 2 - padLeft;
      for (let o: usize = 0; o < inBytes; o += 16) {
        const from = m + <usize>t * inBytes + o;
        for (let j: usize = 0; j < 9; j++) intoPlaces(from + j * mPoint, 9 * mPoint, tmp + j * 16, 144);
        for (let i = 0; i < SIDE; i++) {
          const yy = top + i;
          if (yy < 0 || yy >= h) continue;
          const row = tmp + <usize>i * 144;
          const places = table; // no longer needed: its 324 bytes hold the nine vectors
          intoPlaces(row, 16, places, 16);
          for (let j = 0; j < SIDE; j++) {
            const xx = left + j;
            if (xx < 0 || xx >= w) continue;
            const to = dx + <usize>((image * h + yy) * w + xx) * inBytes + o;
            v128.store(to, f32x4.add(v128.load(to), v128.load(places + (<usize>j << 4))));
          }
        }
      }
    }
  }
}

/** Bytes of scratch of `winogradStridedFilterGrad`. */
export function winogradStridedGradScratchBytes(block: i32, ci: i32, co: i32): i32 {
  const sums = FILTERS * (ci * co * 4 + <i32>GAP);
  return POINTS * (block * (ci + co) * 4 + 2 * <i32>GAP) + sums + max(ci, co) * 4 + <i32>TILE_BYTES + 64;
}

/** Filter gradient. ci % 4 == 0, co % 8 == 0. */
export function winogradStridedFilterGrad(
  x: usize, dy: usize, dw: usize, scratch: usize, block: i32,
  n: i32, h: i32, w: i32, ci: i32, oh: i32, ow: i32, co: i32, padTop: i32, padLeft: i32,
): void {
  const tmp = (scratch + 15) & ~15;
  const table = tmp + 81 * 16;
  const inBytes = <usize>ci << 2, outBytes = <usize>co << 2;
  const vPoint = <usize>block * inBytes + GAP, zPoint = <usize>block * outBytes + GAP;
  const point = (<usize>(ci * co) << 2) + GAP;
  const v = tmp + TILE_BYTES; // f32[81, Ci/4, block, 4]
  const z = v + POINTS * vPoint; // f32[81, Co/8, block, 8]
  const sums = z + POINTS * zPoint; // f32[36, Ci, Co]
  const zeros = sums + FILTERS * point;
  memory.fill(zeros, 0, <usize>max(ci, co) << 2);
  const tilesY = (oh + 3) >> 2, tilesX = (ow + 3) >> 2;
  const tiles = n * tilesY * tilesX;
  for (let start = 0; start < tiles; start += block) {
    const count = min(block, tiles - start);
    for (let t = 0; t < count; t++) {
      const id = start + t;
      locate(id, tilesY, tilesX);
      const image = tileImage, oy = tileY, ox = tileX;
      fillTile(table, x + <usize>(image * h * w) * inBytes, oy * 2 - padTop, ox * 2 - padLeft, h, w, inBytes, zeros, SIDE);
      for (let o: usize = 0; o < inBytes; o += 16) inputTile(table, o, tmp, v + o * <usize>block + (<usize>t << 4), vPoint);
      fillTile(table, dy + <usize>(image * oh * ow) * outBytes, oy, ox, oh, ow, outBytes, zeros, SIDE);
      for (let o: usize = 0; o < outBytes; o += 16) {
        gradTile(table, o, tmp, z + (o & ~31) * <usize>block + (<usize>t << 5) + (o & 16), zPoint);
      }
    }
    for (let q = 0; q < POINTS; q++) {
      const sum = sums + filterOf(q) * point;
      const first = start == 0 && q / SIDE <= 5 && q % SIDE <= 5;
      for (let c = 0; c < ci; c += 4) {
        const a = v + <usize>q * vPoint + (<usize>(c * block) << 2);
        for (let k = 0; k < co; k += 8) {
          const b = z + <usize>q * zPoint + (<usize>(k * block) << 2);
          accumulate48(a, b, count, sum + (<usize>(c * co + k) << 2), outBytes, first);
        }
      }
    }
  }
  const tap = <usize>(ci * co) << 2;
  for (let c = 0; c < ci; c++) {
    for (let k = 0; k < co; k += 4) {
      const at = <usize>(c * co + k) << 2;
      for (let j: usize = 0; j < 6; j++) intoTaps(sums + at + j * point, 6 * point, tmp + j * 16, 96);
      for (let i: usize = 0; i < 3; i++) intoTaps(tmp + i * 96, 16, dw + at + 3 * i * tap, tap);
    }
  }
}
