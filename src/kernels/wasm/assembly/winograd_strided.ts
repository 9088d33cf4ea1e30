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

import { accumulate, panelWidth, product } from "./gemm";
import { clearColumns, fillRows, stripImage, stripTiles, stripX, stripY, takeStrip } from "./strips";
import { gather, GAP } from "./winograd";
import { gradIntoPoints, intoOutputs, intoPlaces, intoPoints, intoTaps, tapsIntoPoints } from "./winograd_points";

const SIDE: i32 = 9;
const POINTS: i32 = 81;
// Different filters: five odd points and one even one, squared.
const FILTERS: i32 = 36;
// Addresses of a strip's rows, then one tile between its two passes.
const TILE_BYTES: usize = 48 + 81 * 16 + 9 * 16;

// Bytes of a strip of up to `block` tiles between its two passes: nine lines of its columns.
// @ts-ignore: AssemblyScript decorator
@inline
function stripBytes(block: i32): usize {
  return <usize>(8 * block + 1) * 144;
}

// @ts-ignore: AssemblyScript decorator
@inline
function filterOf(q: i32): usize {
  return <usize>(min(q / SIDE, 5) * 6 + min(q % SIDE, 5));
}

/** Bytes of the 36 filters, each inner * outer floats in panels of `panelWidth`. */
export function winogradStridedFilterBytes(inner: i32, outer: i32): i32 {
  return FILTERS * (inner * outer * 4 + <i32>GAP);
}

/** U of the forward pass: inner Ci, outer Co. `turned`: of the input gradient, inner Co, outer Ci. scratch: 288 bytes. */
export function winogradStridedFilter(w: usize, u: usize, scratch: usize, ci: i32, co: i32, turned: bool): void {
  const tap = <usize>(ci * co) << 2;
  const point = tap + GAP;
  const row = <usize>co << 2;
  const inner = turned ? co : ci, outer = turned ? ci : co;
  let to = u;
  for (let start = 0; start < outer; ) {
    const stop = start + panelWidth(outer, start);
    for (let i = 0; i < inner; i++) {
      for (let o = start; o < stop; o += 4) {
        const at = w + (<usize>(turned ? o * co + i : i * co + o) << 2);
        for (let b = 0; b < 3; b++) {
          const p = at + <usize>b * tap;
          const line = scratch + <usize>b * 16;
          if (turned) tapsIntoPoints(gather(p, row), gather(p + 3 * tap, row), gather(p + 6 * tap, row), line, 48);
          else tapsIntoPoints(v128.load(p), v128.load(p + 3 * tap), v128.load(p + 6 * tap), line, 48);
        }
        for (let a = 0; a < 6; a++) {
          const line = scratch + <usize>a * 48;
          tapsIntoPoints(v128.load(line), v128.load(line, 16), v128.load(line, 32), to + <usize>(a * 6) * point, point);
        }
        to += 16;
      }
    }
    start = stop;
  }
}

/** Bytes of scratch of `winogradStrided` for blocks of `block` tiles (an even number) and images `w` wide. */
export function winogradStridedScratchBytes(block: i32, w: i32, inner: i32, outer: i32): i32 {
  const points = POINTS * (block * (inner + outer) * 4 + 2 * <i32>GAP);
  return points + w * inner * 4 + <i32>stripBytes(block) + <i32>TILE_BYTES + 64;
}

// T x T' of four channels (offset `o` bytes) of a strip, whose nine rows begin in column `x`, `w` wide. Tile t's 81
// vectors go to `to` + t * tileStep, `point` bytes apart.
function inputStrip(
  rows: usize, o: usize, x: i32, w: i32, tiles: i32, pixel: usize, tmp: usize, to: usize, tileStep: usize, point: usize,
): void {
  const columns = 8 * tiles + 1;
  const line = <usize>columns << 4;
  const first = max(0, -x), last = min(columns, w - x);
  clearColumns(tmp, 0, first, SIDE, line);
  clearColumns(tmp, last, columns, SIDE, line);
  let at = o + <usize>first * pixel;
  for (let j = first; j < last; j++) {
    intoPoints(
      v128.load(<usize>load<u32>(rows) + at), v128.load(<usize>load<u32>(rows, 4) + at),
      v128.load(<usize>load<u32>(rows, 8) + at), v128.load(<usize>load<u32>(rows, 12) + at),
      v128.load(<usize>load<u32>(rows, 16) + at), v128.load(<usize>load<u32>(rows, 20) + at),
      v128.load(<usize>load<u32>(rows, 24) + at), v128.load(<usize>load<u32>(rows, 28) + at),
      v128.load(<usize>load<u32>(rows, 32) + at), tmp + (<usize>j << 4), line,
    );
    at += pixel;
  }
  for (let t = 0; t < tiles; t++) {
    let r = tmp + (<usize>t << 7);
    let p = to + <usize>t * tileStep;
    for (let i = 0; i < SIDE; i++) {
      intoPoints(
        v128.load(r), v128.load(r, 16), v128.load(r, 32), v128.load(r, 48), v128.load(r, 64), v128.load(r, 80),
        v128.load(r, 96), v128.load(r, 112), v128.load(r, 128), p, point,
      );
      r += line;
      p += 9 * point;
    }
  }
}

// A dy A' of four channels of a strip of dy, whose four rows begin in column `x`, `w` wide.
function gradStrip(
  rows: usize, o: usize, x: i32, w: i32, tiles: i32, pixel: usize, tmp: usize, to: usize, tileStep: usize, point: usize,
): void {
  const columns = 4 * tiles;
  const line = <usize>columns << 4;
  const last = min(columns, w - x);
  clearColumns(tmp, last, columns, SIDE, line);
  let p0 = <usize>load<u32>(rows) + o, p1 = <usize>load<u32>(rows, 4) + o;
  let p2 = <usize>load<u32>(rows, 8) + o, p3 = <usize>load<u32>(rows, 12) + o;
  const end = tmp + (<usize>last << 4);
  for (let at = tmp; at < end; at += 16) {
    gradIntoPoints(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), at, line);
    p0 += pixel; p1 += pixel; p2 += pixel; p3 += pixel;
  }
  for (let t = 0; t < tiles; t++) {
    let r = tmp + (<usize>t << 6);
    let p = to + <usize>t * tileStep;
    for (let i = 0; i < SIDE; i++) {
      gradIntoPoints(v128.load(r), v128.load(r, 16), v128.load(r, 32), v128.load(r, 48), p, point);
      r += line;
      p += 9 * point;
    }
  }
}

/** Forward: y = conv(x, filter) of stride 2. ci % 4 == 0, co % 8 == 0; `u` is winogradStridedFilter's. */
export function winogradStrided(
  x: usize, u: usize, y: usize, scratch: usize, block: i32,
  n: i32, h: i32, w: i32, ci: i32, oh: i32, ow: i32, co: i32, padTop: i32, padLeft: i32,
): void {
  const rows = (scratch + 15) & ~15;
  const tile = rows + 48;
  const strip = rows + TILE_BYTES;
  const inBytes = <usize>ci << 2, outBytes = <usize>co << 2;
  const vPoint = <usize>block * inBytes + GAP, mPoint = <usize>block * outBytes + GAP, uPoint = <usize>co * inBytes + GAP;
  const v = strip + stripBytes(block);
  const m = v + POINTS * vPoint;
  const zeros = m + POINTS * mPoint;
  memory.fill(zeros, 0, <usize>w * inBytes);
  const tilesY = (oh + 3) >> 2, tilesX = (ow + 3) >> 2;
  const tiles = n * tilesY * tilesX;
  for (let start = 0; start < tiles; start += block) {
    const end = min(tiles, start + block);
    for (let id = start; id < end; id += stripTiles) {
      takeStrip(id, end, tilesY, tilesX);
      const left = stripX * 8 - padLeft;
      fillRows(rows, SIDE, x + <usize>(stripImage * h * w) * inBytes, stripY * 8 - padTop, left, h, w, inBytes, zeros);
      const to = v + <usize>(id - start) * inBytes;
      for (let o: usize = 0; o < inBytes; o += 16) {
        inputStrip(rows, o, left, w, stripTiles, inBytes, strip, to + o, inBytes, vPoint);
      }
    }
    const even = (end - start + 1) & ~1;
    for (let q = 0; q < POINTS; q++) {
      const at = <usize>q;
      product(v + at * vPoint, inBytes, u + filterOf(q) * uPoint, ci, m + at * mPoint, outBytes, even, co);
    }
    for (let id = start; id < end; id += stripTiles) {
      takeStrip(id, end, tilesY, tilesX);
      const oy = stripY * 4;
      const rowsOut = min(4, oh - oy);
      for (let t = 0; t < stripTiles; t++) {
        const ox = (stripX + t) * 4;
        const columns = min(4, ow - ox);
        const to = y + <usize>((stripImage * oh + oy) * ow + ox) * outBytes;
        for (let o: usize = 0; o < outBytes; o += 16) {
          const from = m + <usize>(id - start + t) * outBytes + o;
          for (let j: usize = 0; j < 9; j++) intoOutputs(from + j * mPoint, 9 * mPoint, tile + j * 16, 144);
          const edge = tile + 81 * 16;
          for (let i = 0; i < rowsOut; i++) {
            intoOutputs(tile + <usize>i * 144, 16, edge, 16);
            const line = to + <usize>(i * ow) * outBytes + o;
            for (let j = 0; j < columns; j++) v128.store(line + <usize>j * outBytes, v128.load(edge + (<usize>j << 4)));
          }
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
  const rows = (scratch + 15) & ~15;
  const tile = rows + 48;
  const strip = rows + TILE_BYTES;
  const inBytes = <usize>ci << 2, outBytes = <usize>co << 2;
  const zPoint = <usize>block * outBytes + GAP, mPoint = <usize>block * inBytes + GAP, uPoint = <usize>co * inBytes + GAP;
  const z = strip + stripBytes(block);
  const m = z + POINTS * zPoint;
  const zeros = m + POINTS * mPoint;
  memory.fill(zeros, 0, <usize>ow * outBytes);
  memory.fill(dx, 0, <usize>(n * h * w) * inBytes);
  const tilesY = (oh + 3) >> 2, tilesX = (ow + 3) >> 2;
  const tiles = n * tilesY * tilesX;
  for (let start = 0; start < tiles; start += block) {
    const end = min(tiles, start + block);
    for (let id = start; id < end; id += stripTiles) {
      takeStrip(id, end, tilesY, tilesX);
      const ox = stripX * 4;
      fillRows(rows, 4, dy + <usize>(stripImage * oh * ow) * outBytes, stripY * 4, ox, oh, ow, outBytes, zeros);
      const to = z + <usize>(id - start) * outBytes;
      for (let o: usize = 0; o < outBytes; o += 16) {
        gradStrip(rows, o, ox, ow, stripTiles, outBytes, strip, to + o, outBytes, zPoint);
      }
    }
    const even = (end - start + 1) & ~1;
    for (let q = 0; q < POINTS; q++) {
      const at = <usize>q;
      product(z + at * zPoint, outBytes, u + filterOf(q) * uPoint, co, m + at * mPoint, inBytes, even, ci);
    }
    for (let id = start; id < end; id += stripTiles) {
      takeStrip(id, end, tilesY, tilesX);
      const top = stripY * 8 - padTop;
      const image = dx + <usize>(stripImage * h * w) * inBytes;
      for (let t = 0; t < stripTiles; t++) {
        const left = (stripX + t) * 8 - padLeft;
        const first = max(0, -left), last = min(SIDE, w - left);
        for (let o: usize = 0; o < inBytes; o += 16) {
          const from = m + <usize>(id - start + t) * inBytes + o;
          for (let j: usize = 0; j < 9; j++) intoPlaces(from + j * mPoint, 9 * mPoint, tile + j * 16, 144);
          const places = tile + 81 * 16;
          for (let i = max(0, -top); i < min(SIDE, h - top); i++) {
            intoPlaces(tile + <usize>i * 144, 16, places, 16);
            let to = image + <usize>((top + i) * w + left + first) * inBytes + o;
            for (let j = first; j < last; j++) {
              v128.store(to, f32x4.add(v128.load(to), v128.load(places + (<usize>j << 4))));
              to += inBytes;
            }
          }
        }
      }
    }
  }
}

/** Bytes of scratch of `winogradStridedFilterGrad`; x is `w` wide, dy `ow`. */
export function winogradStridedGradScratchBytes(block: i32, w: i32, ow: i32, ci: i32, co: i32): i32 {
  const sums = FILTERS * (ci * co * 4 + <i32>GAP);
  const points = POINTS * (block * (ci + co) * 4 + 2 * <i32>GAP);
  return points + sums + max(w * ci, ow * co) * 4 + <i32>stripBytes(block) + <i32>TILE_BYTES + 64;
}

/** Filter gradient. ci % 4 == 0, co % 8 == 0. */
export function winogradStridedFilterGrad(
  x: usize, dy: usize, dw: usize, scratch: usize, block: i32,
  n: i32, h: i32, w: i32, ci: i32, oh: i32, ow: i32, co: i32, padTop: i32, padLeft: i32,
): void {
  const rows = (scratch + 15) & ~15;
  const tile = rows + 48;
  const strip = rows + TILE_BYTES;
  const inBytes = <usize>ci << 2, outBytes = <usize>co << 2;
  const vPoint = <usize>block * inBytes + GAP, zPoint = <usize>block * outBytes + GAP;
  const point = (<usize>(ci * co) << 2) + GAP;
  const v = strip + stripBytes(block); // f32[81, Ci/4, block, 4]
  const z = v + POINTS * vPoint; // f32[81, Co, block] in panels
  const sums = z + POINTS * zPoint; // f32[36, Ci, Co]
  const zeros = sums + FILTERS * point;
  memory.fill(zeros, 0, max(<usize>w * inBytes, <usize>ow * outBytes));
  const tilesY = (oh + 3) >> 2, tilesX = (ow + 3) >> 2;
  const tiles = n * tilesY * tilesX;
  for (let start = 0; start < tiles; start += block) {
    const end = min(tiles, start + block);
    for (let id = start; id < end; id += stripTiles) {
      takeStrip(id, end, tilesY, tilesX);
      const t = id - start;
      const left = stripX * 8 - padLeft, ox = stripX * 4;
      fillRows(rows, SIDE, x + <usize>(stripImage * h * w) * inBytes, stripY * 8 - padTop, left, h, w, inBytes, zeros);
      for (let o: usize = 0; o < inBytes; o += 16) {
        inputStrip(rows, o, left, w, stripTiles, inBytes, strip, v + o * <usize>block + (<usize>t << 4), 16, vPoint);
      }
      fillRows(rows, 4, dy + <usize>(stripImage * oh * ow) * outBytes, stripY * 4, ox, oh, ow, outBytes, zeros);
      let panel = z;
      for (let k = 0; k < co; ) {
        const width = panelWidth(co, k);
        for (let j = 0; j < width; j += 4) {
          const to = panel + (<usize>(t * width + j) << 2);
          gradStrip(rows, <usize>(k + j) << 2, ox, ow, stripTiles, outBytes, strip, to, <usize>width << 2, zPoint);
        }
        panel += <usize>(width * block) << 2;
        k += width;
      }
    }
    for (let q = 0; q < POINTS; q++) {
      const at = <usize>q;
      const first = start == 0 && q / SIDE <= 5 && q % SIDE <= 5;
      accumulate(v + at * vPoint, z + at * zPoint, block, end - start, sums + filterOf(q) * point, ci, co, first);
    }
  }
  const tap = <usize>(ci * co) << 2;
  for (let c = 0; c < ci; c++) {
    for (let k = 0; k < co; k += 4) {
      const at = <usize>(c * co + k) << 2;
      for (let j: usize = 0; j < 6; j++) intoTaps(sums + at + j * point, 6 * point, tile + j * 16, 96);
      for (let i: usize = 0; i < 3; i++) intoTaps(tile + i * 96, 16, dw + at + 3 * i * tap, tap);
    }
  }
}
