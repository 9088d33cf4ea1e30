// Convolution as indirect GEMM (AssemblyScript, wasm SIMD): any filter, any stride, any channels.
//
// A block of up to 128 output pixels gets a table of source addresses, two for each tap of a pair of pixels. The tile then
// multiplies two pixels by up to 24 output channels, all sums in registers (see gemm.ts), and reads the input in place:
// no im2col copy. Forward and input gradient differ only in how the table is made. The idea is XNNPACK's indirect
// convolution (Dukhan 2019).
//
// Layouts: x f32[N,H,W,Ci], y f32[N,OH,OW,Co], filter f32[KH,KW,Ci,Co].
// No static data here: this module shares its memory with tfjs, so it may not place any.

import { panelWidth } from "./gemm";

/** Pixels of a block. */
export const BLOCK: i32 = 128;

/** Packs w f32[taps, inner, outer] into panels of `panelWidth`, each f32[taps, inner, width]; zeros up to a multiple of 8. */
export function packPanels(w: usize, packed: usize, taps: i32, inner: i32, outer: i32): void {
  const whole = (outer + 7) & ~7;
  for (let start = 0; start < whole; ) {
    const width = panelWidth(whole, start);
    const there = <usize>min(width, outer - start) << 2, bytes = <usize>width << 2;
    let from = w + (<usize>start << 2);
    for (let r = 0; r < taps * inner; r++) {
      memory.copy(packed, from, there);
      if (there < bytes) memory.fill(packed + there, 0, bytes - there);
      from += <usize>outer << 2;
      packed += bytes;
    }
    start += width;
  }
}

/** Packs the transpose: w f32[taps, Ci, Co] into panels over Ci, each f32[taps, Co, width]. */
export function packPanelsTransposed(w: usize, packed: usize, taps: i32, ci: i32, co: i32): void {
  const whole = (ci + 7) & ~7;
  for (let start = 0; start < whole; ) {
    const width = panelWidth(whole, start);
    for (let t = 0; t < taps; t++) {
      for (let o = 0; o < co; o++) {
        for (let i = start; i < start + width; i++) {
          store<f32>(packed, i < ci ? load<f32>(w + ((<usize>((t * ci + i) * co + o)) << 2)) : 0);
          packed += 4;
        }
      }
    }
    start += width;
  }
}

// 24 columns of two pixels: sums over taps and channels of source[pixel, c] * panel[tap, c, 24], to y0 and y1.
function tile24(table: usize, tapList: usize, taps: i32, bytes: usize, panel: usize, y0: usize, y1: usize): void {
  let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0), a4 = f32x4.splat(0), a5 = f32x4.splat(0);
  let b0 = f32x4.splat(0), b1 = f32x4.splat(0), b2 = f32x4.splat(0), b3 = f32x4.splat(0), b4 = f32x4.splat(0), b5 = f32x4.splat(0);
  for (let t = 0; t < taps; t++) {
    let p = <usize>load<u32>(table), r = <usize>load<u32>(table, 4);
    let w = panel + <usize>load<u32>(tapList) * bytes * 24;
    table += 8;
    tapList += 4;
    const end = p + bytes;
    do {
      const x = v128.load32_splat(p), z = v128.load32_splat(r);
      let f = v128.load(w);
      a0 = f32x4.add(a0, f32x4.mul(x, f)); b0 = f32x4.add(b0, f32x4.mul(z, f));
      f = v128.load(w, 16);
      a1 = f32x4.add(a1, f32x4.mul(x, f)); b1 = f32x4.add(b1, f32x4.mul(z, f));
      f = v128.load(w, 32);
      a2 = f32x4.add(a2, f32x4.mul(x, f)); b2 = f32x4.add(b2, f32x4.mul(z, f));
      f = v128.load(w, 48);
      a3 = f32x4.add(a3, f32x4.mul(x, f)); b3 = f32x4.add(b3, f32x4.mul(z, f));
      f = v128.load(w, 64);
      a4 = f32x4.add(a4, f32x4.mul(x, f)); b4 = f32x4.add(b4, f32x4.mul(z, f));
      f = v128.load(w, 80);
      a5 = f32x4.add(a5, f32x4.mul(x, f)); b5 = f32x4.add(b5, f32x4.mul(z, f));
      p += 4; r += 4; w += 96;
    } while (p < end);
  }
  v128.store(y0, a0); v128.store(y0, a1, 16); v128.store(y0, a2, 32); v128.store(y0, a3, 48); v128.store(y0, a4, 64); v128.store(y0, a5, 80);
  v128.store(y1, b0); v128.store(y1, b1, 16); v128.store(y1, b2, 32); v128.store(y1, b3, 48); v128.store(y1, b4, 64); v128.store(y1, b5, 80);
}

// 16 columns of two pixels: sums over taps and channels of source[pixel, c] * panel[tap, c, 16], to y0 and y1.
function tile16(table: usize, tapList: usize, taps: i32, bytes: usize, panel: usize, y0: usize, y1: usize): void {
  let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0), b1 = f32x4.splat(0), b2 = f32x4.splat(0), b3 = f32x4.splat(0);
  for (let t = 0; t < taps; t++) {
    let p = <usize>load<u32>(table), r = <usize>load<u32>(table, 4);
    let w = panel + <usize>load<u32>(tapList) * bytes * 16;
    table += 8;
    tapList += 4;
    const end = p + bytes;
    do {
      const x = v128.load32_splat(p), z = v128.load32_splat(r);
      let f = v128.load(w);
      a0 = f32x4.add(a0, f32x4.mul(x, f)); b0 = f32x4.add(b0, f32x4.mul(z, f));
      f = v128.load(w, 16);
      a1 = f32x4.add(a1, f32x4.mul(x, f)); b1 = f32x4.add(b1, f32x4.mul(z, f));
      f = v128.load(w, 32);
      a2 = f32x4.add(a2, f32x4.mul(x, f)); b2 = f32x4.add(b2, f32x4.mul(z, f));
      f = v128.load(w, 48);
      a3 = f32x4.add(a3, f32x4.mul(x, f)); b3 = f32x4.add(b3, f32x4.mul(z, f));
      p += 4; r += 4; w += 64;
    } while (p < end);
  }
  v128.store(y0, a0); v128.store(y0, a1, 16); v128.store(y0, a2, 32); v128.store(y0, a3, 48);
  v128.store(y1, b0); v128.store(y1, b1, 16); v128.store(y1, b2, 32); v128.store(y1, b3, 48);
}

// 8 columns of two pixels: sums over taps and channels of source[pixel, c] * panel[tap, c, 8], to y0 and y1.
function tile8(table: usize, tapList: usize, taps: i32, bytes: usize, panel: usize, y0: usize, y1: usize): void {
  let a0 = f32x4.splat(0), a1 = f32x4.splat(0);
  let b0 = f32x4.splat(0), b1 = f32x4.splat(0);
  for (let t = 0; t < taps; t++) {
    let p = <usize>load<u32>(table), r = <usize>load<u32>(table, 4);
    let w = panel + <usize>load<u32>(tapList) * bytes * 8;
    table += 8;
    tapList += 4;
    const end = p + bytes;
    do {
      const x = v128.load32_splat(p), z = v128.load32_splat(r);
      let f = v128.load(w);
      a0 = f32x4.add(a0, f32x4.mul(x, f)); b0 = f32x4.add(b0, f32x4.mul(z, f));
      f = v128.load(w, 16);
      a1 = f32x4.add(a1, f32x4.mul(x, f)); b1 = f32x4.add(b1, f32x4.mul(z, f));
      p += 4; r += 4; w += 32;
    } while (p < end);
  }
  v128.store(y0, a0); v128.store(y0, a1, 16);
  v128.store(y1, b0); v128.store(y1, b1, 16);
}

// Runs every panel over a filled block. `dest` holds the address of each pixel's output row, `edge` 192 bytes.
function runBlock(
  table: usize, tapList: usize, dest: usize, edge: usize, pixels: i32, taps: i32, allTaps: i32,
  inner: i32, outer: i32, packed: usize,
): void {
  const whole = (outer + 7) & ~7;
  const bytes = <usize>inner << 2;
  for (let start = 0; start < whole; ) {
    const width = panelWidth(whole, start);
    const panel = packed + <usize>(start * allTaps) * bytes;
    const column = <usize>start << 2;
    const there = <usize>(min(width, outer - start) << 2);
    const ragged = there < <usize>width << 2;
    let sources = table;
    for (let i = 0; i < pixels; i += 2) {
      const d0 = <usize>load<u32>(dest + (<usize>i << 2)) + column, d1 = <usize>load<u32>(dest + (<usize>i << 2), 4) + column;
      const y0 = ragged ? edge : d0, y1 = ragged ? edge + 96 : d1;
      if (width == 24) tile24(sources, tapList, taps, bytes, panel, y0, y1);
      else if (width == 16) tile16(sources, tapList, taps, bytes, panel, y0, y1);
      else tile8(sources, tapList, taps, bytes, panel, y0, y1);
      if (ragged) {
        memory.copy(d0, y0, there);
        memory.copy(d1, y1, there);
      }
      sources += <usize>taps << 3;
    }
    start += width;
  }
}

/**
 * Forward: y = conv(x, filter). `packed` is packPanels(filter), `scratch` of scratchBytes(taps, span). `span` is how many
 * floats are read at each tap: ci; or KW * ci with kw 1, where x is padded already: of few channels a whole row of the
 * filter is one tap. Cost: 2*N*OH*OW*KH*KW*span*Co flop.
 */
export function conv2d(
  x: usize, packed: usize, y: usize, scratch: usize,
  n: i32, h: i32, w: i32, ci: i32, oh: i32, ow: i32, co: i32,
  kh: i32, kw: i32, stride: i32, padTop: i32, padLeft: i32, span: i32,
): void {
  const taps = kh * kw;
  const zeros = scratch;
  const tapList = zeros + (<usize>span << 2);
  const dest = tapList + (<usize>taps << 2);
  const edge = dest + (BLOCK << 2);
  const table = edge + 192;
  memory.fill(zeros, 0, <usize>span << 2);
  for (let t = 0; t < taps; t++) store<u32>(tapList + (<usize>t << 2), <u32>t);
  const rowBytes = <usize>ci << 2;
  const total = n * oh * ow;
  for (let start = 0; start < total; start += BLOCK) {
    const pixels = min(BLOCK, total - start);
    let oy = start / ow;
    let ox = start - oy * ow;
    let image = oy / oh;
    oy -= image * oh;
    for (let i = 0; i < pixels; i++) {
      let at = table + <usize>(i >> 1) * (<usize>taps << 3) + (<usize>(i & 1) << 2);
      for (let a = 0; a < kh; a++) {
        const sy = oy * stride - padTop + a;
        for (let b = 0; b < kw; b++) {
          const sx = ox * stride - padLeft + b;
          const inside = sy >= 0 && sy < h && sx >= 0 && sx < w;
          store<u32>(at, <u32>(inside ? x + <usize>((image * h + sy) * w + sx) * rowBytes : zeros));
          at += 8;
        }
      }
      store<u32>(dest + (<usize>i << 2), <u32>(y + ((<usize>(start + i) * <usize>co) << 2)));
      if (++ox == ow) { ox = 0; if (++oy == oh) { oy = 0; image++; } }
    }
    if (pixels & 1) repeatLast(table, dest, pixels, taps);
    runBlock(table, tapList, dest, edge, pixels, taps, taps, span, co, packed);
  }
}

// A pixel without a partner is its own: computed twice, written twice to one place.
function repeatLast(table: usize, dest: usize, pixels: i32, taps: i32): void {
  let at = table + <usize>(pixels >> 1) * (<usize>taps << 3);
  for (let t = 0; t < taps; t++) {
    store<u32>(at, load<u32>(at), 4);
    at += 8;
  }
  const last = dest + (<usize>pixels << 2);
  store<u32>(last, load<u32>(last - 4));
}

/**
 * Input gradient: dx = conv_transpose(dy, filter). `packed` is packPanelsTransposed(filter).
 * Pixels are taken by their parity class (y mod stride, x mod stride): all pixels of one class meet the same
 * taps, so no multiplication by a known zero is made.
 */
export function conv2dInputGrad(
  dy: usize, packed: usize, dx: usize, scratch: usize,
  n: i32, h: i32, w: i32, ci: i32, oh: i32, ow: i32, co: i32,
  kh: i32, kw: i32, stride: i32, padTop: i32, padLeft: i32,
): void {
  const allTaps = kh * kw;
  const zeros = scratch;
  const tapList = zeros + (<usize>co << 2);
  const dest = tapList + (<usize>allTaps << 2);
  const edge = dest + (BLOCK << 2);
  const table = edge + 192;
  memory.fill(zeros, 0, <usize>co << 2);
  const rowBytes = <usize>co << 2;
  for (let cy = 0; cy < stride; cy++) {
    for (let cx = 0; cx < stride; cx++) {
      const ch = (h - cy + stride - 1) / stride;
      const cw = (w - cx + stride - 1) / stride;
      const firstY = (cy + padTop) % stride;
      const firstX = (cx + padLeft) % stride;
      let taps = 0;
      for (let a = firstY; a < kh; a += stride) {
        for (let b = firstX; b < kw; b += stride) {
          store<u32>(tapList + (<usize>taps << 2), <u32>(a * kw + b));
          taps++;
        }
      }
      const total = n * ch * cw;
      for (let start = 0; start < total; start += BLOCK) {
        const pixels = min(BLOCK, total - start);
        for (let i = 0; i < pixels; i++) {
          const p = start + i;
          const image = p / (ch * cw);
          const r = p - image * ch * cw;
          const qy = r / cw;
          const iy = qy * stride + cy;
          const ix = (r - qy * cw) * stride + cx;
          const base = dy + <usize>(image * oh * ow) * rowBytes;
          let at = table + <usize>(i >> 1) * (<usize>taps << 3) + (<usize>(i & 1) << 2);
          for (let a = firstY; a < kh; a += stride) {
            const oy = (iy + padTop - a) / stride;
            const rowIn = iy + padTop >= a && oy < oh;
            for (let b = firstX; b < kw; b += stride) {
              const ox = (ix + padLeft - b) / stride;
              const inside = rowIn && ix + padLeft >= b && ox < ow;
              store<u32>(at, <u32>(inside ? base + <usize>(oy * ow + ox) * rowBytes : zeros));
              at += 8;
            }
          }
          store<u32>(dest + (<usize>i << 2), <u32>(dx + (<usize>((image * h + iy) * w + ix) * <usize>ci << 2)));
        }
        if (pixels & 1) repeatLast(table, dest, pixels, taps);
        runBlock(table, tapList, dest, edge, pixels, taps, allTaps, co, ci, packed);
      }
    }
  }
}

/** Bytes of scratch that the forward pass and the input gradient need. */
export function scratchBytes(taps: i32, span: i32): i32 {
  return span * 4 + taps * 4 + BLOCK * 4 + 192 + BLOCK * taps * 4 + 64;
}
