// Winograd's convolution F(4x4, 3x3) (Lavin and Gray 2016) and its filter gradient F(3x3, 4x4), stride 1.
//
// Both work on tiles of 6x6 at the interpolation points 0, 1, -1, 2, -2 and infinity, so 16 outputs of 9 products each
// take 36 multiplications instead of 144. Input, filter (or dy) are transformed; in the transformed domain there are 36
// plain matrix products; their result is transformed back. Tiles that reach over the border read zeros and write
// nothing there, so any height and width is right; channels come in fours and eights.
//
// Layouts: x f32[N,H,W,Ci], y f32[N,OH,OW,Co], filter f32[3,3,Ci,Co]. Point q = 6 * row + column of the 36.
// No static data here: this module shares its memory with tfjs.

import { accumulate48, product } from "./gemm";

const POINTS: i32 = 36;
// Between the rows of two points: without it their 36 addresses, powers of two apart, would share one cache set.
export const GAP: usize = 64;
// One tile between its two passes.
const TILE_BYTES: usize = 36 * 16;

// @ts-ignore: AssemblyScript decorator
@inline
export function by(v: v128, factor: f32): v128 {
  return f32x4.mul(v, f32x4.splat(factor));
}

// B': six vectors at `from` -> six at `to`.
// @ts-ignore: AssemblyScript decorator
@inline
function transformInput(d0: v128, d1: v128, d2: v128, d3: v128, d4: v128, d5: v128, to: usize, step: usize): void {
  v128.store(to, f32x4.add(f32x4.sub(by(d0, 4), by(d2, 5)), d4));
  const a = f32x4.sub(d4, by(d2, 4)), b = f32x4.sub(d3, by(d1, 4));
  v128.store(to + step, f32x4.add(a, b));
  v128.store(to + 2 * step, f32x4.sub(a, b));
  const c = f32x4.sub(d4, d2), e = by(f32x4.sub(d3, d1), 2);
  v128.store(to + 3 * step, f32x4.add(c, e));
  v128.store(to + 4 * step, f32x4.sub(c, e));
  v128.store(to + 5 * step, f32x4.add(f32x4.sub(by(d1, 4), by(d3, 5)), d5));
}

// G of F(4,3): three vectors -> six at `to`.
// @ts-ignore: AssemblyScript decorator
@inline
function transformFilter(g0: v128, g1: v128, g2: v128, to: usize, step: usize): void {
  v128.store(to, by(g0, 0.25));
  const a = by(f32x4.add(g0, g2), -1.0 / 6), b = by(g1, -1.0 / 6);
  v128.store(to + step, f32x4.add(a, b));
  v128.store(to + 2 * step, f32x4.sub(a, b));
  const c = f32x4.add(by(g0, 1.0 / 24), by(g2, 1.0 / 6)), e = by(g1, 1.0 / 12);
  v128.store(to + 3 * step, f32x4.add(c, e));
  v128.store(to + 4 * step, f32x4.sub(c, e));
  v128.store(to + 5 * step, g2);
}

// G of F(3,4): four vectors of dy -> six at `to`.
// @ts-ignore: AssemblyScript decorator
@inline
function transformGrad(g0: v128, g1: v128, g2: v128, g3: v128, to: usize, step: usize): void {
  v128.store(to, by(g0, 0.25));
  const a = by(f32x4.add(g0, g2), -1.0 / 6), b = by(f32x4.add(g1, g3), -1.0 / 6);
  v128.store(to + step, f32x4.add(a, b));
  v128.store(to + 2 * step, f32x4.sub(a, b));
  const c = by(f32x4.add(g0, by(g2, 4)), 1.0 / 24), e = by(f32x4.add(g1, by(g3, 4)), 1.0 / 12);
  v128.store(to + 3 * step, f32x4.add(c, e));
  v128.store(to + 4 * step, f32x4.sub(c, e));
  v128.store(to + 5 * step, g3);
}

/** Bytes of U of one filter: f32[36, outer/8, inner, 8]. */
export function winogradFilterBytes(inner: i32, outer: i32): i32 {
  return POINTS * (inner * outer * 4 + <i32>GAP);
}

/** U of the forward convolution: inner Ci, outer Co. scratch: 288 bytes. */
export function winogradFilter(w: usize, u: usize, scratch: usize, ci: i32, co: i32): void {
  const tap = <usize>(ci * co) << 2;
  const point = tap + GAP;
  for (let c = 0; c < ci; c++) {
    for (let k = 0; k < co; k += 4) {
      const at = w + (<usize>(c * co + k) << 2);
      for (let b = 0; b < 3; b++) {
        const from = at + <usize>b * tap;
        transformFilter(v128.load(from), v128.load(from + 3 * tap), v128.load(from + 6 * tap), scratch + <usize>b * 16, 48);
      }
      const to = u + (<usize>(((k >> 3) * ci + c) * 8 + (k & 7)) << 2);
      for (let a = 0; a < 6; a++) {
        const row = scratch + <usize>a * 48;
        transformFilter(v128.load(row), v128.load(row, 16), v128.load(row, 32), to + <usize>(a * 6) * point, point);
      }
    }
  }
}

// Four floats `step` bytes apart.
// @ts-ignore: AssemblyScript decorator
@inline
export function gather(p: usize, step: usize): v128 {
  let v = v128.load32_zero(p);
  v = v128.load_lane<f32>(p + step, v, 1);
  v = v128.load_lane<f32>(p + 2 * step, v, 2);
  return v128.load_lane<f32>(p + 3 * step, v, 3);
}

/** U of the input gradient: the filter turned by half a turn, inner Co, outer Ci. scratch: 288 bytes. */
export function winogradFilterTurned(w: usize, u: usize, scratch: usize, ci: i32, co: i32): void {
  const tap = <usize>(ci * co) << 2;
  const point = tap + GAP;
  const row = <usize>co << 2;
  for (let c = 0; c < ci; c += 4) {
    for (let k = 0; k < co; k++) {
      const at = w + (<usize>(c * co + k) << 2);
      for (let b = 0; b < 3; b++) {
        const from = at + <usize>(2 - b) * tap;
        transformFilter(
          gather(from + 6 * tap, row), gather(from + 3 * tap, row), gather(from, row), scratch + <usize>b * 16, 48,
        );
      }
      const to = u + (<usize>(((c >> 3) * co + k) * 8 + (c & 7)) << 2);
      for (let a = 0; a < 6; a++) {
        const line = scratch + <usize>a * 48;
        transformFilter(v128.load(line), v128.load(line, 16), v128.load(line, 32), to + <usize>(a * 6) * point, point);
      }
    }
  }
}

// Where a tile of 4x4 outputs is: its image, and its top-left output. One instance of the module serves one thread.
export let tileImage: i32 = 0;
export let tileY: i32 = 0;
export let tileX: i32 = 0;

export function locate(id: i32, tilesY: i32, tilesX: i32): void {
  tileImage = id / (tilesY * tilesX);
  const r = id - tileImage * tilesY * tilesX;
  const row = r / tilesX;
  tileY = row * 4;
  tileX = (r - row * tilesX) * 4;
}

// Addresses of the source pixels of a square tile whose top-left one is (y, x); those outside are `zeros`.
export function fillTile(table: usize, image: usize, y: i32, x: i32, h: i32, w: i32, pixel: usize, zeros: usize, side: i32): void {
  for (let i = 0; i < side; i++) {
    const inRow = y + i >= 0 && y + i < h;
    const row = image + <usize>((y + i) * w + x) * pixel;
    for (let j = 0; j < side; j++) {
      store<u32>(table, <u32>(inRow && x + j >= 0 && x + j < w ? row + <usize>j * pixel : zeros));
      table += 4;
    }
  }
}

// One tile of four channels (offset `o` bytes): 36 transformed vectors at `to`, `point` bytes apart.
// @ts-ignore: AssemblyScript decorator
@inline
function inputTile(table: usize, o: usize, tmp: usize, to: usize, point: usize): void {
  for (let j: usize = 0; j < 6; j++) {
    const t = table + j * 4;
    transformInput(
      v128.load(<usize>load<u32>(t) + o), v128.load(<usize>load<u32>(t, 24) + o),
      v128.load(<usize>load<u32>(t, 48) + o), v128.load(<usize>load<u32>(t, 72) + o),
      v128.load(<usize>load<u32>(t, 96) + o), v128.load(<usize>load<u32>(t, 120) + o),
      tmp + j * 16, 96,
    );
  }
  for (let i: usize = 0; i < 6; i++) {
    const r = tmp + i * 96;
    transformInput(
      v128.load(r), v128.load(r, 16), v128.load(r, 32), v128.load(r, 48), v128.load(r, 64), v128.load(r, 80),
      to + 6 * i * point, point,
    );
  }
}

// A': six vectors -> four at `to`.
// @ts-ignore: AssemblyScript decorator
@inline
function transformOutput(m0: v128, m1: v128, m2: v128, m3: v128, m4: v128, m5: v128, to: usize, step: usize): void {
  const s12 = f32x4.add(m1, m2), d12 = f32x4.sub(m1, m2), s34 = f32x4.add(m3, m4), d34 = f32x4.sub(m3, m4);
  v128.store(to, f32x4.add(f32x4.add(m0, s12), s34));
  v128.store(to + step, f32x4.add(d12, by(d34, 2)));
  v128.store(to + 2 * step, f32x4.add(s12, by(s34, 4)));
  v128.store(to + 3 * step, f32x4.add(f32x4.add(d12, by(d34, 8)), m5));
}

// Transforms one tile of four channels back; `y` is the address of its top-left output, `rows` x `columns` are written.
// @ts-ignore: AssemblyScript decorator
@inline
function outputTile(m: usize, point: usize, tmp: usize, y: usize, pixel: usize, line: usize, rows: i32, columns: i32): void {
  for (let j: usize = 0; j < 6; j++) {
    const p = m + j * point;
    transformOutput(
      v128.load(p), v128.load(p + 6 * point), v128.load(p + 12 * point), v128.load(p + 18 * point),
      v128.load(p + 24 * point), v128.load(p + 30 * point), tmp + j * 16, 96,
    );
  }
  for (let i = 0; i < rows; i++) {
    const r = tmp + <usize>i * 96;
    if (columns == 4) {
      transformOutput(
        v128.load(r), v128.load(r, 16), v128.load(r, 32), v128.load(r, 48), v128.load(r, 64), v128.load(r, 80), y, pixel,
      );
    } else {
      const edge = tmp + 4 * 96;
      transformOutput(
        v128.load(r), v128.load(r, 16), v128.load(r, 32), v128.load(r, 48), v128.load(r, 64), v128.load(r, 80), edge, 16,
      );
      for (let j = 0; j < columns; j++) v128.store(y + <usize>j * pixel, v128.load(edge + (<usize>j << 4)));
    }
    y += line;
  }
}

/** Bytes of scratch of `winograd` for blocks of `block` tiles (a multiple of 4). */
export function winogradScratchBytes(block: i32, inner: i32, outer: i32): i32 {
  return POINTS * (block * (inner + outer) * 4 + 2 * <i32>GAP) + inner * 4 + POINTS * 4 + <i32>TILE_BYTES + 64;
}

/**
 * Convolution 3x3, stride 1, of x f32[N,H,W,inner] by a transformed filter `u`; y f32[N,OH,OW,outer]. inner % 4 == 0,
 * outer % 8 == 0. The forward pass, and with the turned filter the input gradient.
 */
export function winograd(
  x: usize, u: usize, y: usize, scratch: usize, block: i32,
  n: i32, h: i32, w: i32, inner: i32, oh: i32, ow: i32, outer: i32, padTop: i32, padLeft: i32,
): void {
  const tmp = (scratch + 15) & ~15;
  const v = tmp + TILE_BYTES;
  const inBytes = <usize>inner << 2, outBytes = <usize>outer << 2;
  const vPoint = <usize>block * inBytes + GAP, mPoint = <usize>block * outBytes + GAP;
  const uPoint = <usize>outer * inBytes + GAP;
  const m = v + POINTS * vPoint;
  const zeros = m + POINTS * mPoint;
  const table = zeros + (<usize>inner << 2);
  memory.fill(zeros, 0, <usize>inner << 2);
  const tilesY = (oh + 3) >> 2, tilesX = (ow + 3) >> 2;
  const tiles = n * tilesY * tilesX;
  for (let start = 0; start < tiles; start += block) {
    const count = min(block, tiles - start);
    const padded = (count + 3) & ~3; // rows of the product behind the last tile repeat it, and are not read
    for (let t = 0; t < padded; t++) {
      const id = start + min(t, count - 1);
      locate(id, tilesY, tilesX);
      fillTile(table, x + <usize>(tileImage * h * w) * inBytes, tileY - padTop, tileX - padLeft, h, w, inBytes, zeros, 6);
      const to = v + <usize>t * inBytes;
      for (let o: usize = 0; o < inBytes; o += 16) inputTile(table, o, tmp, to + o, vPoint);
    }
    for (let q = 0; q < POINTS; q++) {
      const rows = v + <usize>q * vPoint;
      const result = m + <usize>q * mPoint;
      for (let k = 0; k < outer; k += 8) {
        const panel = u + <usize>q * uPoint + <usize>k * inBytes;
        product(rows, inBytes, panel, inner, result + (<usize>k << 2), outBytes, padded);
      }
    }
    for (let t = 0; t < count; t++) {
      const id = start + t;
      locate(id, tilesY, tilesX);
      const image = tileImage, oy = tileY, ox = tileX;
      const to = y + <usize>((image * oh + oy) * ow + ox) * outBytes;
      const from = m + <usize>t * outBytes;
      const rows = min(4, oh - oy), columns = min(4, ow - ox);
      for (let o: usize = 0; o < outBytes; o += 16) {
        outputTile(from + o, mPoint, tmp, to + o, outBytes, <usize>ow * outBytes, rows, columns);
      }
    }
  }
}

// A' of F(3,4): six vectors -> three at `to`.
// @ts-ignore: AssemblyScript decorator
@inline
function transformGradOutput(m0: v128, m1: v128, m2: v128, m3: v128, m4: v128, m5: v128, to: usize, step: usize): void {
  const s12 = f32x4.add(m1, m2), s34 = f32x4.add(m3, m4);
  v128.store(to, f32x4.add(f32x4.add(m0, s12), s34));
  v128.store(to + step, f32x4.add(f32x4.sub(m1, m2), by(f32x4.sub(m3, m4), 2)));
  v128.store(to + 2 * step, f32x4.add(f32x4.add(s12, by(s34, 4)), m5));
}

/** Bytes of scratch of `winogradFilterGrad` for blocks of `block` tiles. */
export function winogradGradScratchBytes(block: i32, ci: i32, co: i32): i32 {
  return POINTS * ((block * (ci + co) + ci * co) * 4 + 3 * <i32>GAP) + max(ci, co) * 4 + POINTS * 4 + <i32>TILE_BYTES + 64;
}

/** dw f32[3,3,Ci,Co] of a 3x3 convolution of stride 1. ci % 4 == 0, co % 8 == 0. */
export function winogradFilterGrad(
  x: usize, dy: usize, dw: usize, scratch: usize, block: i32,
  n: i32, h: i32, w: i32, ci: i32, oh: i32, ow: i32, co: i32, padTop: i32, padLeft: i32,
): void {
  const tmp = (scratch + 15) & ~15;
  const inBytes = <usize>ci << 2, outBytes = <usize>co << 2;
  const vPoint = <usize>block * inBytes + GAP, zPoint = <usize>block * outBytes + GAP;
  const v = tmp + TILE_BYTES; // f32[36, Ci/4, block, 4]
  const z = v + POINTS * vPoint; // f32[36, Co/8, block, 8]
  const sums = z + POINTS * zPoint; // f32[36, Ci, Co]
  const point = (<usize>(ci * co) << 2) + GAP;
  const zeros = sums + POINTS * point;
  const table = zeros + (<usize>max(ci, co) << 2);
  memory.fill(zeros, 0, <usize>max(ci, co) << 2);
  const tilesY = (oh + 3) >> 2, tilesX = (ow + 3) >> 2;
  const tiles = n * tilesY * tilesX;
  for (let start = 0; start < tiles; start += block) {
    const count = min(block, tiles - start);
    for (let t = 0; t < count; t++) {
      const id = start + t;
      locate(id, tilesY, tilesX);
      const image = tileImage, oy = tileY, ox = tileX;
      fillTile(table, x + <usize>(image * h * w) * inBytes, oy - padTop, ox - padLeft, h, w, inBytes, zeros, 6);
      for (let o: usize = 0; o < inBytes; o += 16) inputTile(table, o, tmp, v + (o * <usize>block) + (<usize>t << 4), vPoint);
      // The tile of dy is the top-left 4x4 of the table; what is outside counts as zero.
      fillTile(table, dy + <usize>(image * oh * ow) * outBytes, oy, ox, oh, ow, outBytes, zeros, 6);
      for (let o: usize = 0; o < outBytes; o += 16) {
        for (let j: usize = 0; j < 4; j++) {
          const p = table + j * 4;
          transformGrad(
            v128.load(<usize>load<u32>(p) + o), v128.load(<usize>load<u32>(p, 24) + o),
            v128.load(<usize>load<u32>(p, 48) + o), v128.load(<usize>load<u32>(p, 72) + o), tmp + j * 16, 64,
          );
        }
        const to = z + (o & ~31) * <usize>block + (<usize>t << 5) + (o & 16);
        for (let i: usize = 0; i < 6; i++) {
          const r = tmp + i * 64;
          transformGrad(v128.load(r), v128.load(r, 16), v128.load(r, 32), v128.load(r, 48), to + 6 * i * zPoint, zPoint);
        }
      }
    }
    for (let q = 0; q < POINTS; q++) {
      const sum = sums + <usize>q * point;
      for (let c = 0; c < ci; c += 4) {
        const a = v + <usize>q * vPoint + (<usize>(c * block) << 2);
        for (let k = 0; k < co; k += 8) {
          const b = z + <usize>q * zPoint + (<usize>(k * block) << 2);
          accumulate48(a, b, count, sum + (<usize>(c * co + k) << 2), outBytes, start == 0);
        }
      }
    }
  }
  const tap = <usize>(ci * co) << 2;
  for (let c = 0; c < ci; c++) {
    for (let k = 0; k < co; k += 4) {
      const from = sums + (<usize>(c * co + k) << 2);
      for (let j: usize = 0; j < 6; j++) {
        const p = from + j * point;
        transformGradOutput(
          v128.load(p), v128.load(p + 6 * point), v128.load(p + 12 * point), v128.load(p + 18 * point),
          v128.load(p + 24 * point), v128.load(p + 30 * point), tmp + j * 16, 96,
        );
      }
      const to = dw + (<usize>(c * co + k) << 2);
      for (let i: usize = 0; i < 3; i++) {
        const r = tmp + i * 96;
        transformGradOutput(
          v128.load(r), v128.load(r, 16), v128.load(r, 32), v128.load(r, 48), v128.load(r, 64), v128.load(r, 80),
          to + 3 * i * tap, tap,
        );
      }
    }
  }
}
