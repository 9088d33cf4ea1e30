// The filter gradient of any convolution, and the padded copy of an input of few channels.

import { BLOCK } from "./conv";
import { accumulate, panelWidth } from "./gemm";

/** padded f32[N, H + top + bottom, W + left + right, C] of x f32[N,H,W,C], zeros around. */
export function padImages(
  x: usize, padded: usize, n: i32, h: i32, w: i32, c: i32, top: i32, bottom: i32, left: i32, right: i32,
): void {
  const row = <usize>(w * c) << 2;
  const before = <usize>(left * c) << 2, after = <usize>(right * c) << 2;
  const wide = before + row + after;
  for (let i = 0; i < n; i++) {
    memory.fill(padded, 0, <usize>top * wide);
    padded += <usize>top * wide;
    for (let y = 0; y < h; y++) {
      memory.fill(padded, 0, before);
      memory.copy(padded + before, x, row);
      memory.fill(padded + before + row, 0, after);
      padded += wide;
      x += row;
    }
    memory.fill(padded, 0, <usize>bottom * wide);
    padded += <usize>bottom * wide;
  }
}

// g, in panels f32[BLOCK, width], of dy f32[pixels, Co]; zeros up to a multiple of 8.
function packGrad(dy: usize, g: usize, pixels: i32, co: i32): void {
  const whole = (co + 7) & ~7;
  for (let start = 0; start < whole; ) {
    const width = panelWidth(whole, start);
    let to = g + (<usize>(start * BLOCK) << 2);
    for (let i = 0; i < pixels; i++) {
      const from = dy + (<usize>(i * co + start) << 2);
      for (let k = 0; k < width; k += 4) {
        if (start + k + 4 <= co) v128.store(to, v128.load(from + (<usize>k << 2)));
        else for (let j = k; j < k + 4; j++) {
          store<f32>(to + (<usize>(j - k) << 2), start + j < co ? load<f32>(from + (<usize>j << 2)) : 0);
        }
        to += 16;
      }
    }
    start += width;
  }
}

// rows f32[ceil(span/4), BLOCK, 4] of the pixels that one tap meets; zeros up to a multiple of 4.
function packTap(table: usize, rows: usize, pixels: i32, span: i32): void {
  for (let i = 0; i < pixels; i++) {
    const from = <usize>load<u32>(table + (<usize>i << 2));
    let to = rows + (<usize>i << 4);
    for (let c = 0; c < span; c += 4) {
      if (c + 4 <= span) v128.store(to, v128.load(from + (<usize>c << 2)));
      else for (let k = 0; k < 4; k++) store<f32>(to + (<usize>k << 2), c + k < span ? load<f32>(from + (<usize>(c + k) << 2)) : 0);
      to += <usize>BLOCK << 4;
    }
  }
}

/**
 * Filter gradient: dw[KH,KW,span,Co] = sum over pixels of x[pixel + tap, span] * dy[pixel, Co]. Both factors are copied
 * together, block by block: each value is then used Co (or taps * span) times from the first cache. `span` as in conv2d;
 * `scratch` of gradScratchBytes(taps, span, Co).
 */
export function conv2dFilterGrad(
  x: usize, dy: usize, dw: usize, scratch: usize,
  n: i32, h: i32, w: i32, ci: i32, oh: i32, ow: i32, co: i32,
  kh: i32, kw: i32, stride: i32, padTop: i32, padLeft: i32, span: i32,
): void {
  const span4 = (span + 3) & ~3, co8 = (co + 7) & ~7;
  const zeros = scratch;
  const table = zeros + (<usize>span << 2); // u32[BLOCK]
  const rows = table + (<usize>BLOCK << 2); // f32[span/4, BLOCK, 4]
  const grads = rows + (<usize>(BLOCK * span4) << 2); // f32[Co, BLOCK] in panels
  // Sums of whole tiles: dw itself where none is ragged.
  const ragged = span4 != span || co8 != co;
  const sums = ragged ? grads + (<usize>(BLOCK * co8) << 2) : dw;
  const tapBytes = <usize>(span4 * co8) << 2;
  memory.fill(zeros, 0, <usize>span << 2);
  const rowBytes = <usize>ci << 2;
  const total = n * oh * ow;
  for (let start = 0; start < total; start += BLOCK) {
    const pixels = min(BLOCK, total - start);
    packGrad(dy + (<usize>(start * co) << 2), grads, pixels, co);
    const line = start / ow;
    for (let t = 0; t < kh * kw; t++) {
      const a = t / kw - padTop, b = t % kw - padLeft;
      let image = line / oh;
      let oy = line - image * oh;
      let ox = start - line * ow;
      for (let i = 0; i < pixels; i++) {
        const sy = oy * stride + a, sx = ox * stride + b;
        const inside = sy >= 0 && sy < h && sx >= 0 && sx < w;
        store<u32>(table + (<usize>i << 2), <u32>(inside ? x + <usize>((image * h + sy) * w + sx) * rowBytes : zeros));
        if (++ox == ow) { ox = 0; if (++oy == oh) { oy = 0; image++; } }
      }
      packTap(table, rows, pixels, span);
      accumulate(rows, grads, BLOCK, pixels, sums + <usize>t * tapBytes, span4, co8, start == 0);
    }
  }
  if (!ragged) return;
  for (let t = 0; t < kh * kw; t++) {
    for (let c = 0; c < span; c++) {
      memory.copy(dw + (<usize>((t * span + c) * co) << 2), sums + (<usize>((t * span4 + c) * co8) << 2), <usize>co << 2);
    }
  }
}

/** Bytes of scratch of `conv2dFilterGrad`. */
export function gradScratchBytes(taps: i32, span: i32, co: i32): i32 {
  const span4 = (span + 3) & ~3, co8 = (co + 7) & ~7;
  return span * 4 + BLOCK * (1 + span4 + co8) * 4 + (span4 != span || co8 != co ? taps * span4 * co8 * 4 : 0) + 64;
}
