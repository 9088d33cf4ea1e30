// Factors of `product` from matrices with any distance between rows and between columns, padded with zeros to its sizes.

import { panelWidth } from "./gemm";

/** The next even number: `inner` and rows of a product. */
// @ts-ignore: AssemblyScript decorator
@inline
export function even(n: i32): i32 {
  return (n + 1) & ~1;
}

/** The next multiple of 8: columns of a product. */
// @ts-ignore: AssemblyScript decorator
@inline
export function eights(n: i32): i32 {
  return (n + 7) & ~7;
}

/**
 * Panels f32[inner2, width] of `columns` columns: element (i, j) is at from + i * rowStep + j * columnStep, else zero.
 * inner2 >= inner.
 */
export function pack(
  from: usize, to: usize, inner: i32, inner2: i32, columns: i32, rowStep: usize, columnStep: usize,
): void {
  const whole = eights(columns);
  for (let start = 0; start < whole; ) {
    const stop = start + panelWidth(whole, start);
    for (let i = 0; i < inner2; i++) {
      for (let j = start; j < stop; j++) {
        const there = i < inner && j < columns;
        store<f32>(to, there ? load<f32>(from + <usize>i * rowStep + <usize>j * columnStep) : 0);
        to += 4;
      }
    }
    start = stop;
  }
}
