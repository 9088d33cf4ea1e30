// Convolution as indirect GEMM (AssemblyScript, wasm SIMD).
//
// A block of up to 128 output pixels gets a table of source addresses, one per (tile of 4 pixels, tap, pixel).
// The micro-kernel then multiplies 4 pixels by 8 output channels, all 8 accumulators in registers, and reads
// the input in place: no im2col copy. Forward and input gradient differ only in how the table is made; the
// filter gradient copies what it reads together. The idea is XNNPACK's indirect convolution (Dukhan 2019).
//
// Layouts: x f32[N,H,W,Ci], y f32[N,OH,OW,Co], filter f32[KH,KW,Ci,Co].
// No static data here: this module shares its memory with tfjs, so it may not place any.

import { accumulate48 } from "./gemm";

/** Pixels of a block; the table of one block is BLOCK * taps addresses. */
export const BLOCK: i32 = 128;

/** Packs w f32[taps, inner, outer] into panels of 8: packed f32[ceil(outer/8), taps, inner, 8], zero-filled. */
export function packPanels(w: usize, packed: usize, taps: i32, inner: i32, outer: i32): void {
  const panels = (outer + 7) >> 3;
  for (let p = 0; p < panels; p++) {
    const width = min(8, outer - p * 8);
    for (let r = 0; r < taps * inner; r++) {
      const from = w + ((<usize>(r * outer + p * 8)) << 2);
      if (width == 8) {
        v128.store(packed, v128.load(from));
        v128.store(packed, v128.load(from, 16), 16);
      } else {
        for (let c = 0; c < 8; c++) {
          store<f32>(packed + (<usize>c << 2), c < width ? load<f32>(from + (<usize>c << 2)) : 0);
        }
      }
      packed += 32;
    }
  }
}

/** Packs the transpose: w f32[taps, Ci, Co] into panels over Ci: packed f32[ceil(Ci/8), taps, Co, 8]. */
export function packPanelsTransposed(w: usize, packed: usize, taps: i32, ci: i32, co: i32): void {
  const panels = (ci + 7) >> 3;
  for (let p = 0; p < panels; p++) {
    for (let t = 0; t < taps; t++) {
      for (let o = 0; o < co; o++) {
        for (let c = 0; c < 8; c++) {
          const i = p * 8 + c;
          store<f32>(packed, i < ci ? load<f32>(w + ((<usize>((t * ci + i) * co + o)) << 2)) : 0);
          packed += 4;
        }
      }
    }
  }
}

/**
 * y[4 pixels, 8 channels] = sum over taps and channels of source[pixel, c] * panel[tap, c, 8].
 * `table` holds 4 addresses per tap, `tapOffset` the byte offset of each tap in the panel.
 */
function tile(table: usize, tapOffsets: usize, taps: i32, channels: i32, panel: usize, out: usize): void {
  let a0 = f32x4.splat(0), b0 = f32x4.splat(0);
  let a1 = f32x4.splat(0), b1 = f32x4.splat(0);
  let a2 = f32x4.splat(0), b2 = f32x4.splat(0);
  let a3 = f32x4.splat(0), b3 = f32x4.splat(0);
  const bytes = <usize>channels << 2;
  for (let t = 0; t < taps; t++) {
    let p0 = <usize>load<u32>(table);
    let p1 = <usize>load<u32>(table, 4);
    let p2 = <usize>load<u32>(table, 8);
    let p3 = <usize>load<u32>(table, 12);
    let w = panel + <usize>load<u32>(tapOffsets + (<usize>t << 2));
    table += 16;
    const end = p0 + bytes;
    // One channel a turn: unrolled, JavaScriptCore spills the sums (see winograd.ts).
    for (; p0 < end; ) {
      const w0 = v128.load(w), w1 = v128.load(w, 16);
      let x = v128.load32_splat(p0);
      a0 = f32x4.add(a0, f32x4.mul(x, w0)); b0 = f32x4.add(b0, f32x4.mul(x, w1));
      x = v128.load32_splat(p1);
      a1 = f32x4.add(a1, f32x4.mul(x, w0)); b1 = f32x4.add(b1, f32x4.mul(x, w1));
      x = v128.load32_splat(p2);
      a2 = f32x4.add(a2, f32x4.mul(x, w0)); b2 = f32x4.add(b2, f32x4.mul(x, w1));
      x = v128.load32_splat(p3);
      a3 = f32x4.add(a3, f32x4.mul(x, w0)); b3 = f32x4.add(b3, f32x4.mul(x, w1));
      p0 += 4; p1 += 4; p2 += 4; p3 += 4; w += 32;
    }
  }
  v128.store(out, a0); v128.store(out, b0, 16);
  v128.store(out, a1, 32); v128.store(out, b1, 48);
  v128.store(out, a2, 64); v128.store(out, b2, 80);
  v128.store(out, a3, 96); v128.store(out, b3, 112);
}

/** Runs every panel over a filled block. `dest` holds the address of each pixel's output row. */
function runBlock(
  table: usize, tapOffsets: usize, dest: usize, tileOut: usize, pixels: i32,
  taps: i32, inner: i32, outer: i32, packed: usize, panelBytes: usize,
): void {
  const panels = (outer + 7) >> 3;
  const tiles = (pixels + 3) >> 2;
  for (let p = 0; p < panels; p++) {
    const width = min(8, outer - p * 8);
    const panel = packed + <usize>p * panelBytes;
    const column = <usize>p << 5;
    for (let i = 0; i < tiles; i++) {
      tile(table + <usize>(i * taps) * 16, tapOffsets, taps, inner, panel, tileOut);
      const rows = min(4, pixels - i * 4);
      for (let r = 0; r < rows; r++) {
        const to = <usize>load<u32>(dest + (<usize>(i * 4 + r) << 2)) + column;
        const from = tileOut + (<usize>r << 5);
        if (width == 8) {
          v128.store(to, v128.load(from));
          v128.store(to, v128.load(from, 16), 16);
        } else {
          for (let c = 0; c < width; c++) store<f32>(to + (<usize>c << 2), load<f32>(from + (<usize>c << 2)));
        }
      }
    }
  }
}

/** Writes one pixel's addresses for all taps of a KH x KW window whose top-left source pixel is (sy, sx). */
// @ts-ignore: AssemblyScript decorator
@inline
function fillWindow(
  table: usize, slot: i32, taps: i32, kh: i32, kw: i32, image: usize, sy: i32, sx: i32,
  h: i32, w: i32, rowBytes: usize, zeros: usize,
): void {
  let at = table + <usize>(slot >> 2) * <usize>taps * 16 + (<usize>(slot & 3) << 2);
  for (let a = 0; a < kh; a++) {
    const y = sy + a;
    for (let b = 0; b < kw; b++) {
      const x = sx + b;
      const inside = y >= 0 && y < h && x >= 0 && x < w;
      store<u32>(at, <u32>(inside ? image + <usize>(y * w + x) * rowBytes : zeros));
      at += 16;
    }
  }
}

/**
 * Forward: y = conv(x, filter). `scratch` needs scratchBytes(taps, Ci); `packed` is packPanels(filter).
 * Cost: 2*N*OH*OW*KH*KW*Ci*Co flop.
 */
export function conv2d(
  x: usize, packed: usize, y: usize, scratch: usize,
  n: i32, h: i32, w: i32, ci: i32, oh: i32, ow: i32, co: i32,
  kh: i32, kw: i32, stride: i32, padTop: i32, padLeft: i32,
): void {
  const taps = kh * kw;
  const zeros = scratch;
  const tapOffsets = zeros + (<usize>ci << 2);
  const dest = tapOffsets + (<usize>taps << 2);
  const tileOut = dest + (BLOCK << 2);
  const table = tileOut + 128;
  memory.fill(zeros, 0, <usize>ci << 2);
  for (let t = 0; t < taps; t++) store<u32>(tapOffsets + (<usize>t << 2), <u32>(t * ci * 32));
  const panelBytes = <usize>(taps * ci) * 32;
  const rowBytes = <usize>ci << 2;
  const total = n * oh * ow;
  for (let start = 0; start < total; start += BLOCK) {
    const pixels = min(BLOCK, total - start);
    for (let i = 0; i < ((pixels + 3) & ~3); i++) {
      const p = start + min(i, pixels - 1);
      const image = p / (oh * ow);
      const r = p - image * oh * ow;
      const oy = r / ow;
      const ox = r - oy * ow;
      fillWindow(table, i, taps, kh, kw, x + <usize>(image * h * w) * rowBytes,
        oy * stride - padTop, ox * stride - padLeft, h, w, rowBytes, zeros);
      store<u32>(dest + (<usize>i << 2), <u32>(y + ((<usize>p * <usize>co) << 2)));
    }
    runBlock(table, tapOffsets, dest, tileOut, pixels, taps, ci, co, packed, panelBytes);
  }
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
  const tapOffsets = zeros + (<usize>co << 2);
  const dest = tapOffsets + (<usize>allTaps << 2);
  const tileOut = dest + (BLOCK << 2);
  const table = tileOut + 128;
  memory.fill(zeros, 0, <usize>co << 2);
  const panelBytes = <usize>(allTaps * co) * 32;
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
          store<u32>(tapOffsets + (<usize>taps << 2), <u32>((a * kw + b) * co * 32));
          taps++;
        }
      }
      const total = n * ch * cw;
      for (let start = 0; start < total; start += BLOCK) {
        const pixels = min(BLOCK, total - start);
        for (let i = 0; i < ((pixels + 3) & ~3); i++) {
          const p = start + min(i, pixels - 1);
          const image = p / (ch * cw);
          const r = p - image * ch * cw;
          const qy = r / cw;
          const iy = qy * stride + cy;
          const ix = (r - qy * cw) * stride + cx;
          const base = dy + <usize>(image * oh * ow) * rowBytes;
          let at = table + <usize>(i >> 2) * <usize>taps * 16 + (<usize>(i & 3) << 2);
          for (let a = firstY; a < kh; a += stride) {
            const oy = (iy + padTop - a) / stride;
            const rowIn = iy + padTop >= a && oy < oh;
            for (let b = firstX; b < kw; b += stride) {
              const ox = (ix + padLeft - b) / stride;
              const inside = rowIn && ix + padLeft >= b && ox < ow;
              store<u32>(at, <u32>(inside ? base + <usize>(oy * ow + ox) * rowBytes : zeros));
              at += 16;
            }
          }
          store<u32>(dest + (<usize>i << 2), <u32>(dx + (<usize>((image * h + iy) * w + ix) * <usize>ci << 2)));
        }
        runBlock(table, tapOffsets, dest, tileOut, pixels, taps, co, ci, packed, panelBytes);
      }
    }
  }
}

/** g f32[ceil(Co/8), BLOCK, 8] of dy f32[pixels, Co], zero-filled: what the tiles read lies together. */
function packGrad(dy: usize, g: usize, pixels: i32, co: i32): void {
  for (let i = 0; i < pixels; i++) {
    for (let o = 0; o < co; o += 8) {
      const from = dy + (<usize>(i * co + o) << 2);
      const to = g + (<usize>(o * BLOCK + i * 8) << 2);
      if (o + 8 <= co) {
        v128.store(to, v128.load(from));
        v128.store(to, v128.load(from, 16), 16);
      } else {
        for (let c = 0; c < 8; c++) store<f32>(to + (<usize>c << 2), o + c < co ? load<f32>(from + (<usize>c << 2)) : 0);
      }
    }
  }
}

/** rows f32[ceil(Ci/4), BLOCK, 4] of the pixels that one tap meets: zero where that is outside. */
function packTap(table: usize, rows: usize, pixels: i32, ci: i32): void {
  for (let i = 0; i < pixels; i++) {
    const from = <usize>load<u32>(table + (<usize>i << 2));
    for (let c = 0; c < ci; c += 4) {
      const to = rows + (<usize>(c * BLOCK + i * 4) << 2);
      if (c + 4 <= ci) v128.store(to, v128.load(from + (<usize>c << 2)));
      else for (let k = 0; k < 4; k++) store<f32>(to + (<usize>k << 2), c + k < ci ? load<f32>(from + (<usize>(c + k) << 2)) : 0);
    }
  }
}

/**
 * Filter gradient: dw[KH,KW,Ci,Co] = sum over pixels of x[pixel + tap, Ci] * dy[pixel, Co]. Both factors are copied
 * together, block by block: each value is then used Co (or taps * Ci) times from the first cache.
 * `scratch` needs gradScratchBytes(taps, Ci, Co).
 */
export function conv2dFilterGrad(
  x: usize, dy: usize, dw: usize, scratch: usize,
  n: i32, h: i32, w: i32, ci: i32, oh: i32, ow: i32, co: i32,
  kh: i32, kw: i32, stride: i32, padTop: i32, padLeft: i32,
): void {
  const ci4 = (ci + 3) & ~3, co8 = (co + 7) & ~7;
  const zeros = scratch;
  const table = zeros + (<usize>ci << 2); // u32[BLOCK]
  const rows = table + (<usize>BLOCK << 2); // f32[Ci/4, BLOCK, 4]
  const grads = rows + (<usize>(BLOCK * ci4) << 2); // f32[Co/8, BLOCK, 8]
  // Sums of whole tiles: dw itself where none is ragged.
  const ragged = ci4 != ci || co8 != co;
  const sums = ragged ? grads + (<usize>(BLOCK * co8) << 2) : dw;
  const sumStep = <usize>co8 << 2;
  memory.fill(zeros, 0, <usize>ci << 2);
  const rowBytes = <usize>ci << 2;
  const total = n * oh * ow;
  for (let start = 0; start < total; start += BLOCK) {
    const pixels = min(BLOCK, total - start);
    packGrad(dy + (<usize>(start * co) << 2), grads, pixels, co);
    for (let t = 0; t < kh * kw; t++) {
      const a = t / kw - padTop, b = t % kw - padLeft;
      for (let i = 0; i < pixels; i++) {
        const p = start + i;
        const image = p / (oh * ow);
        const r = p - image * oh * ow;
        const oy = r / ow;
        const sy = oy * stride + a, sx = (r - oy * ow) * stride + b;
        const inside = sy >= 0 && sy < h && sx >= 0 && sx < w;
        store<u32>(table + (<usize>i << 2), <u32>(inside ? x + <usize>((image * h + sy) * w + sx) * rowBytes : zeros));
      }
      packTap(table, rows, pixels, ci);
      for (let c = 0; c < ci4; c += 4) {
        for (let o = 0; o < co8; o += 8) {
          const to = sums + <usize>(t * ci4 + c) * sumStep + (<usize>o << 2);
          accumulate48(rows + (<usize>(c * BLOCK) << 2), grads + (<usize>(o * BLOCK) << 2), pixels, to, sumStep, start == 0);
        }
      }
    }
  }
  if (!ragged) return;
  for (let t = 0; t < kh * kw; t++) {
    for (let c = 0; c < ci; c++) {
      memory.copy(dw + (<usize>((t * ci + c) * co) << 2), sums + <usize>(t * ci4 + c) * sumStep, <usize>co << 2);
    }
  }
}

/** Bytes of scratch of `conv2dFilterGrad`. */
export function gradScratchBytes(taps: i32, ci: i32, co: i32): i32 {
  const ci4 = (ci + 3) & ~3, co8 = (co + 7) & ~7;
  return ci * 4 + BLOCK * (1 + ci4 + co8) * 4 + (ci4 != ci || co8 != co ? taps * ci4 * co8 * 4 : 0) + 64;
}

/** Bytes of scratch that the forward pass and the input gradient need. */
export function scratchBytes(taps: i32, channels: i32): i32 {
  return channels * 4 + taps * 4 + BLOCK * 4 + 128 + BLOCK * taps * 4 + 64;
}
