// Max pooling, channels innermost. The first maximum of a window wins, as in PyTorch.

/** y f32[N,OH,OW,C], argmax i32[N,OH,OW,C] (index of the winning pixel in its image). */
export function maxPool(
  x: usize, y: usize, argmax: usize, n: i32, h: i32, w: i32, c: i32, oh: i32, ow: i32, size: i32, stride: i32, pad: i32,
): void {
  const pixel = <usize>c << 2;
  for (let i = 0; i < n; i++) {
    const image = x + <usize>(i * h * w) * pixel;
    for (let oy = 0; oy < oh; oy++) {
      const y0 = max(0, oy * stride - pad), y1 = min(h, oy * stride - pad + size);
      for (let ox = 0; ox < ow; ox++) {
        const x0 = max(0, ox * stride - pad), x1 = min(w, ox * stride - pad + size);
        let k = 0;
        for (; k + 4 <= c; k += 4) {
          let best = f32x4.splat(-f32.MAX_VALUE), where = i32x4.splat(y0 * w + x0);
          for (let a = y0; a < y1; a++) {
            let at = image + <usize>(a * w + x0) * pixel + (<usize>k << 2);
            for (let b = x0; b < x1; b++) {
              const v = v128.load(at);
              const better = f32x4.gt(v, best);
              best = v128.bitselect(v, best, better);
              where = v128.bitselect(i32x4.splat(a * w + b), where, better);
              at += pixel;
            }
          }
          v128.store(y, best);
          v128.store(argmax, where);
          y += 16;
          argmax += 16;
        }
        for (; k < c; k++) {
          let best = -f32.MAX_VALUE;
          let where = y0 * w + x0;
          for (let a = y0; a < y1; a++) {
            for (let b = x0; b < x1; b++) {
              const v = load<f32>(image + <usize>(a * w + b) * pixel + (<usize>k << 2));
              if (v > best) { best = v; where = a * w + b; }
            }
          }
          store<f32>(y, best);
          store<i32>(argmax, where);
          y += 4;
          argmax += 4;
        }
      }
    }
  }
}

/** dx f32[N,H,W,C]: each dy goes to the pixel that won. */
export function maxPoolGrad(dy: usize, argmax: usize, dx: usize, n: i32, h: i32, w: i32, c: i32, oh: i32, ow: i32): void {
  memory.fill(dx, 0, (<usize>(n * h * w * c)) << 2);
  for (let i = 0; i < n; i++) {
    const image = dx + ((<usize>(i * h * w * c)) << 2);
    for (let p = 0; p < oh * ow; p++) {
      const row = (<usize>((i * oh * ow + p) * c)) << 2;
      for (let k = 0; k < c; k++) {
        const to = image + ((<usize>(load<i32>(argmax + row + (<usize>k << 2)) * c + k)) << 2);
        store<f32>(to, load<f32>(to) + load<f32>(dy + row + (<usize>k << 2)));
      }
    }
  }
}
