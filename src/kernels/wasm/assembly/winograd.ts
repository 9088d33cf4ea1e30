// Winograd's convolution F(4x4, 3x3) (Lavin and Gray 2016) and its filter gradient F(3x3, 4x4), stride 1.
//
// Both work on tiles of 6x6 at the interpolation points 0, 1, -1, 2, -2 and infinity, so 16 outputs of 9 products each
// take 36 multiplications instead of 144. Input, filter (or dy) are transformed; in the transformed domain there are 36
// plain matrix products; their result is transformed back. Tiles that reach over the border read zeros and write
// nothing there, so any height and width is right; channels come in fours and eights.
//
// Layouts: x f32[N,H,W,Ci], y f32[N,OH,OW,Co], filter f32[3,3,Ci,Co]. Point q = 6 * row + column of the 36.
// No static data here: this module shares its memory with tfjs.

import { accumulate, panelWidth, product } from "./gemm";
import { clearColumns, fillRows, stripImage, stripTiles, stripX, stripY, takeStrip } from "./strips";

const POINTS: i32 = 36;
// Between the rows of two points: without it their 36 addresses, powers of two apart, would share one cache set.
export const GAP: usize = 64;

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

/** Bytes of U of one filter: 36 times inner * outer floats in panels of `panelWidth`. */
export function winogradFilterBytes(inner: i32, outer: i32): i32 {
  return POINTS * (inner * outer * 4 + <i32>GAP);
}

/** U of the forward convolution: inner Ci, outer Co. scratch: 288 bytes. */
export function winogradFilter(w: usize, u: usize, scratch: usize, ci: i32, co: i32): void {
  const tap = <usize>(ci * co) << 2;
  const point = tap + GAP;
  let to = u;
  for (let start = 0; start < co; ) {
    const stop = start + panelWidth(co, start);
    for (let c = 0; c < ci; c++) {
      for (let k = start; k < stop; k += 4) {
        const at = w + (<usize>(c * co + k) << 2);
        for (let b = 0; b < 3; b++) {
          const from = at + <usize>b * tap;
          transformFilter(v128.load(from), v128.load(from + 3 * tap), v128.load(from + 6 * tap), scratch + <usize>b * 16, 48);
        }
        for (let a = 0; a < 6; a++) {
          const row = scratch + <usize>a * 48;
          transformFilter(v128.load(row), v128.load(row, 16), v128.load(row, 32), to + <usize>(a * 6) * point, point);
        }
        to += 16;
      }
    }
    start = stop;
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
  let to = u;
  for (let start = 0; start < ci; ) {
    const stop = start + panelWidth(ci, start);
    for (let k = 0; k < co; k++) {
      for (let c = start; c < stop; c += 4) {
        const at = w + (<usize>(c * co + k) << 2);
        for (let b = 0; b < 3; b++) {
          const from = at + <usize>(2 - b) * tap;
          transformFilter(
            gather(from + 6 * tap, row), gather(from + 3 * tap, row), gather(from, row), scratch + <usize>b * 16, 48,
          );
        }
        for (let a = 0; a < 6; a++) {
          const line = scratch + <usize>a * 48;
          transformFilter(v128.load(line), v128.load(line, 16), v128.load(line, 32), to + <usize>(a * 6) * point, point);
        }
        to += 16;
      }
    }
    start = stop;
  }
}

// Bytes of a strip of up to `block` tiles between its two passes: six lines of its columns.
// @ts-ignore: AssemblyScript decorator
@inline
function stripBytes(block: i32): usize {
  return <usize>(4 * block + 2) * 96;
}

// Transforms four channels (offset `o` bytes) of a strip of x, whose six rows begin in column `x`, `w` wide. Tile t's 36
// vectors go to `to` + t * tileStep, `point` bytes apart.
function inputStrip(
  rows: usize, o: usize, x: i32, w: i32, tiles: i32, pixel: usize, tmp: usize, to: usize, tileStep: usize, point: usize,
): void {
  const columns = 4 * tiles + 2;
  const line = <usize>columns << 4;
  const first = max(0, -x), last = min(columns, w - x);
  clearColumns(tmp, 0, first, 6, line);
  clearColumns(tmp, last, columns, 6, line);
  o += <usize>first * pixel;
  let p0 = <usize>load<u32>(rows) + o, p1 = <usize>load<u32>(rows, 4) + o, p2 = <usize>load<u32>(rows, 8) + o;
  let p3 = <usize>load<u32>(rows, 12) + o, p4 = <usize>load<u32>(rows, 16) + o, p5 = <usize>load<u32>(rows, 20) + o;
  const end = tmp + (<usize>last << 4);
  for (let at = tmp + (<usize>first << 4); at < end; at += 16) {
    transformInput(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), v128.load(p4), v128.load(p5), at, line);
    p0 += pixel; p1 += pixel; p2 += pixel; p3 += pixel; p4 += pixel; p5 += pixel;
  }
  for (let t = 0; t < tiles; t++) {
    let r = tmp + (<usize>t << 6);
    let p = to + <usize>t * tileStep;
    for (let i = 0; i < 6; i++) {
      transformInput(
        v128.load(r), v128.load(r, 16), v128.load(r, 32), v128.load(r, 48), v128.load(r, 64), v128.load(r, 80), p, point,
      );
      r += line;
      p += 6 * point;
    }
  }
}

// The same of dy, of whose tiles four rows and columns count: A dy A'.
function gradStrip(
  rows: usize, o: usize, x: i32, w: i32, tiles: i32, pixel: usize, tmp: usize, to: usize, tileStep: usize, point: usize,
): void {
  const columns = 4 * tiles;
  const line = <usize>columns << 4;
  const last = min(columns, w - x);
  clearColumns(tmp, last, columns, 6, line);
  let p0 = <usize>load<u32>(rows) + o, p1 = <usize>load<u32>(rows, 4) + o;
  let p2 = <usize>load<u32>(rows, 8) + o, p3 = <usize>load<u32>(rows, 12) + o;
  const end = tmp + (<usize>last << 4);
  for (let at = tmp; at < end; at += 16) {
    transformGrad(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), at, line);
    p0 += pixel; p1 += pixel; p2 += pixel; p3 += pixel;
  }
  for (let t = 0; t < tiles; t++) {
    let r = tmp + (<usize>t << 6);
    let p = to + <usize>t * tileStep;
    for (let i = 0; i < 6; i++) {
      transformGrad(v128.load(r), v128.load(r, 16), v128.load(r, 32), v128.load(r, 48), p, point);
      r += line;
      p += 6 * point;
    }
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

/** Bytes of scratch of `winograd` for blocks of `block` tiles (an even number) and images `w` wide. */
export function winogradScratchBytes(block: i32, w: i32, inner: i32, outer: i32): i32 {
  return POINTS * (block * (inner + outer) * 4 + 2 * <i32>GAP) + w * inner * 4 + <i32>stripBytes(block) + 64;
}

/**
 * Convolution 3x3, stride 1, of x f32[N,H,W,inner] by a transformed filter `u`; y f32[N,OH,OW,outer]. inner % 4 == 0,
 * outer % 8 == 0. The forward pass, and with the turned filter the input gradient.
 */
export function winograd(
  x: usize, u: usize, y: usize, scratch: usize, block: i32,
  n: i32, h: i32, w: i32, inner: i32, oh: i32, ow: i32, outer: i32, padTop: i32, padLeft: i32,
): void {
  const rows = (scratch + 15) & ~15;
  const tmp = rows + 32;
  const inBytes = <usize>inner << 2, outBytes = <usize>outer << 2;
  const vPoint = <usize>block * inBytes + GAP, mPoint = <usize>block * outBytes + GAP;
  const uPoint = <usize>outer * inBytes + GAP;
  const v = tmp + stripBytes(block);
  const m = v + POINTS * vPoint;
  const zeros = m + POINTS * mPoint;
  memory.fill(zeros, 0, <usize>w * inBytes);
  const tilesY = (oh + 3) >> 2, tilesX = (ow + 3) >> 2;
  const tiles = n * tilesY * tilesX;
  for (let start = 0; start < tiles; start += block) {
    const end = min(tiles, start + block);
    for (let id = start; id < end; id += stripTiles) {
      takeStrip(id, end, tilesY, tilesX);
      const image = x + <usize>(stripImage * h * w) * inBytes, left = stripX * 4 - padLeft;
      fillRows(rows, 6, image, stripY * 4 - padTop, left, h, w, inBytes, zeros);
      const to = v + <usize>(id - start) * inBytes;
      for (let o: usize = 0; o < inBytes; o += 16) {
        inputStrip(rows, o, left, w, stripTiles, inBytes, tmp, to + o, inBytes, vPoint);
      }
    }
    // Products come in pairs of rows: one behind the last tile is of what was there, and is not read.
    const even = (end - start + 1) & ~1;
    for (let q = 0; q < POINTS; q++) {
      const at = <usize>q;
      product(v + at * vPoint, inBytes, u + at * uPoint, inner, m + at * mPoint, outBytes, even, outer);
    }
    for (let id = start; id < end; id += stripTiles) {
      takeStrip(id, end, tilesY, tilesX);
      const oy = stripY * 4;
      const rowsOut = min(4, oh - oy);
      for (let t = 0; t < stripTiles; t++) {
        const ox = (stripX + t) * 4;
        const columns = min(4, ow - ox);
        const from = m + <usize>(id - start + t) * outBytes;
        const to = y + <usize>((stripImage * oh + oy) * ow + ox) * outBytes;
        for (let o: usize = 0; o < outBytes; o += 16) {
          outputTile(from + o, mPoint, tmp, to + o, outBytes, <usize>ow * outBytes, rowsOut, columns);
        }
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

/** Bytes of scratch of `winogradFilterGrad` for blocks of `block` tiles; x is `w` wide, dy `ow`. */
export function winogradGradScratchBytes(block: i32, w: i32, ow: i32, ci: i32, co: i32): i32 {
  const points = POINTS * ((block * (ci + co) + ci * co) * 4 + 3 * <i32>GAP);
  return points + max(w * ci, ow * co) * 4 + <i32>stripBytes(block) + 64;
}

/** dw f32[3,3,Ci,Co] of a 3x3 convolution of stride 1. ci % 4 == 0, co % 8 == 0. */
export function winogradFilterGrad(
  x: usize, dy: usize, dw: usize, scratch: usize, block: i32,
  n: i32, h: i32, w: i32, ci: i32, oh: i32, ow: i32, co: i32, padTop: i32, padLeft: i32,
): void {
  const rows = (scratch + 15) & ~15;
  const tmp = rows + 32;
  const inBytes = <usize>ci << 2, outBytes = <usize>co << 2;
  const vPoint = <usize>block * inBytes + GAP, zPoint = <usize>block * outBytes + GAP;
  const v = tmp + stripBytes(block); // f32[36, Ci/4, block, 4]
  const z = v + POINTS * vPoint; // f32[36, Co, block] in panels
  const sums = z + POINTS * zPoint; // f32[36, Ci, Co]
  const point = (<usize>(ci * co) << 2) + GAP;
  const zeros = sums + POINTS * point;
  memory.fill(zeros, 0, max(<usize>w * inBytes, <usize>ow * outBytes));
  const tilesY = (oh + 3) >> 2, tilesX = (ow + 3) >> 2;
  const tiles = n * tilesY * tilesX;
  for (let start = 0; start < tiles; start += block) {
    const end = min(tiles, start + block);
    const count = end - start;
    for (let id = start; id < end; id += stripTiles) {
      takeStrip(id, end, tilesY, tilesX);
      const t = id - start;
      const oy = stripY * 4, ox = stripX * 4;
      fillRows(rows, 6, x + <usize>(stripImage * h * w) * inBytes, oy - padTop, ox - padLeft, h, w, inBytes, zeros);
      for (let o: usize = 0; o < inBytes; o += 16) {
        inputStrip(rows, o, ox - padLeft, w, stripTiles, inBytes, tmp, v + o * <usize>block + (<usize>t << 4), 16, vPoint);
      }
      fillRows(rows, 4, dy + <usize>(stripImage * oh * ow) * outBytes, oy, ox, oh, ow, outBytes, zeros);
      let panel = z;
      for (let k = 0; k < co; ) {
        const width = panelWidth(co, k);
        for (let j = 0; j < width; j += 4) {
          const to = panel + (<usize>(t * width + j) << 2);
          gradStrip(rows, <usize>(k + j) << 2, ox, ow, stripTiles, outBytes, tmp, to, <usize>width << 2, zPoint);
        }
        panel += <usize>(width * block) << 2;
        k += width;
      }
    }
    for (let q = 0; q < POINTS; q++) {
      const at = <usize>q;
      accumulate(v + at * vPoint, z + at * zPoint, block, count, sums + at * point, ci, co, start == 0);
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
