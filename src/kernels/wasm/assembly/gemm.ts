// The products that every convolution is made of: sums of two rows by up to 24 columns in registers.
//
// Why 2 x 24. JavaScriptCore gives twelve sums and four temporaries a register each, and issues six instructions a cycle
// at best. A number that is spread over a vector costs three of them (its address is added to the memory's base, loaded,
// moved on), a vector of the panel only one. So few rows and many columns: 43 instructions for 96 flop, where 6 x 8 takes
// 49 and 4 x 8 takes 34 for 64. It runs at 0.85 of what registers alone can do (bench/kernels.ts). Unrolled by two it
// is slower by 15%, the sums being spilled; 2 x 16 is faster so, by 8%.

// Bytes of a place of `accumulate`'s first factor: four rows side by side.
const PLACE: usize = 16;

/** Width of the panel that begins at column `start`: 24, at the end 16, or 8 where that is all there is. */
export function panelWidth(columns: i32, start: i32): i32 {
  const left = columns - start;
  return left == 32 ? 16 : left >= 24 ? 24 : min(16, left);
}

// y[2, 24] = a[2, inner] * panel[inner, 24]; `aStep` and `yStep` bytes from row to row.
function product24(a: usize, aStep: usize, panel: usize, inner: i32, y: usize, yStep: usize): void {
  let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0), a4 = f32x4.splat(0), a5 = f32x4.splat(0);
  let b0 = f32x4.splat(0), b1 = f32x4.splat(0), b2 = f32x4.splat(0), b3 = f32x4.splat(0), b4 = f32x4.splat(0), b5 = f32x4.splat(0);
  let p = a, r = a + aStep;
  const end = a + (<usize>inner << 2);
  do {
    let x = v128.load32_splat(p), z = v128.load32_splat(r), w = v128.load(panel);
    a0 = f32x4.add(a0, f32x4.mul(x, w)); b0 = f32x4.add(b0, f32x4.mul(z, w));
    w = v128.load(panel, 16);
    a1 = f32x4.add(a1, f32x4.mul(x, w)); b1 = f32x4.add(b1, f32x4.mul(z, w));
    w = v128.load(panel, 32);
    a2 = f32x4.add(a2, f32x4.mul(x, w)); b2 = f32x4.add(b2, f32x4.mul(z, w));
    w = v128.load(panel, 48);
    a3 = f32x4.add(a3, f32x4.mul(x, w)); b3 = f32x4.add(b3, f32x4.mul(z, w));
    w = v128.load(panel, 64);
    a4 = f32x4.add(a4, f32x4.mul(x, w)); b4 = f32x4.add(b4, f32x4.mul(z, w));
    w = v128.load(panel, 80);
    a5 = f32x4.add(a5, f32x4.mul(x, w)); b5 = f32x4.add(b5, f32x4.mul(z, w));
    p += 4; r += 4; panel += 96;
  } while (p < end);
  v128.store(y, a0); v128.store(y, a1, 16); v128.store(y, a2, 32); v128.store(y, a3, 48); v128.store(y, a4, 64); v128.store(y, a5, 80);
  y += yStep;
  v128.store(y, b0); v128.store(y, b1, 16); v128.store(y, b2, 32); v128.store(y, b3, 48); v128.store(y, b4, 64); v128.store(y, b5, 80);
}

// y[2, 16] = a[2, inner] * panel[inner, 16]; `aStep` and `yStep` bytes from row to row.
function product16(a: usize, aStep: usize, panel: usize, inner: i32, y: usize, yStep: usize): void {
  let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0), b1 = f32x4.splat(0), b2 = f32x4.splat(0), b3 = f32x4.splat(0);
  let p = a, r = a + aStep;
  const end = a + (<usize>inner << 2);
  do {
    let x = v128.load32_splat(p), z = v128.load32_splat(r), w = v128.load(panel);
    a0 = f32x4.add(a0, f32x4.mul(x, w)); b0 = f32x4.add(b0, f32x4.mul(z, w));
    w = v128.load(panel, 16);
    a1 = f32x4.add(a1, f32x4.mul(x, w)); b1 = f32x4.add(b1, f32x4.mul(z, w));
    w = v128.load(panel, 32);
    a2 = f32x4.add(a2, f32x4.mul(x, w)); b2 = f32x4.add(b2, f32x4.mul(z, w));
    w = v128.load(panel, 48);
    a3 = f32x4.add(a3, f32x4.mul(x, w)); b3 = f32x4.add(b3, f32x4.mul(z, w));
    x = v128.load32_splat(p, 4); z = v128.load32_splat(r, 4); w = v128.load(panel, 64);
    a0 = f32x4.add(a0, f32x4.mul(x, w)); b0 = f32x4.add(b0, f32x4.mul(z, w));
    w = v128.load(panel, 80);
    a1 = f32x4.add(a1, f32x4.mul(x, w)); b1 = f32x4.add(b1, f32x4.mul(z, w));
    w = v128.load(panel, 96);
    a2 = f32x4.add(a2, f32x4.mul(x, w)); b2 = f32x4.add(b2, f32x4.mul(z, w));
    w = v128.load(panel, 112);
    a3 = f32x4.add(a3, f32x4.mul(x, w)); b3 = f32x4.add(b3, f32x4.mul(z, w));
    p += 8; r += 8; panel += 128;
  } while (p < end);
  v128.store(y, a0); v128.store(y, a1, 16); v128.store(y, a2, 32); v128.store(y, a3, 48);
  y += yStep;
  v128.store(y, b0); v128.store(y, b1, 16); v128.store(y, b2, 32); v128.store(y, b3, 48);
}

// y[2, 8] = a[2, inner] * panel[inner, 8]; `aStep` and `yStep` bytes from row to row.
function product8(a: usize, aStep: usize, panel: usize, inner: i32, y: usize, yStep: usize): void {
  let a0 = f32x4.splat(0), a1 = f32x4.splat(0);
  let b0 = f32x4.splat(0), b1 = f32x4.splat(0);
  let p = a, r = a + aStep;
  const end = a + (<usize>inner << 2);
  do {
    let x = v128.load32_splat(p), z = v128.load32_splat(r), w = v128.load(panel);
    a0 = f32x4.add(a0, f32x4.mul(x, w)); b0 = f32x4.add(b0, f32x4.mul(z, w));
    w = v128.load(panel, 16);
    a1 = f32x4.add(a1, f32x4.mul(x, w)); b1 = f32x4.add(b1, f32x4.mul(z, w));
    p += 4; r += 4; panel += 32;
  } while (p < end);
  v128.store(y, a0); v128.store(y, a1, 16);
  y += yStep;
  v128.store(y, b0); v128.store(y, b1, 16);
}

/** y[rows, columns] = a[rows, inner] * panels. Rows are even, columns a multiple of 8, inner even; panels as `panelWidth`. */
export function product(
  a: usize, aStep: usize, panels: usize, inner: i32, y: usize, yStep: usize, rows: i32, columns: i32,
): void {
  productPart(a, aStep, panels, inner, inner, y, yStep, rows, columns, columns);
}

/**
 * `product` over the first `count` of the inner places, an even number, in the panels that begin before column `stop`. Columns
 * from `stop` to the end of its panel are written as well.
 */
export function productPart(
  a: usize, aStep: usize, panels: usize, inner: i32, count: i32, y: usize, yStep: usize, rows: i32, columns: i32, stop: i32,
): void {
  for (let start = 0; start < stop; ) {
    const width = panelWidth(columns, start);
    const panel = panels + (<usize>(start * inner) << 2);
    let from = a, to = y + (<usize>start << 2);
    for (let row = 0; row < rows; row += 2) {
      if (width == 24) product24(from, aStep, panel, count, to, yStep);
      else if (width == 16) product16(from, aStep, panel, count, to, yStep);
      else product8(from, aStep, panel, count, to, yStep);
      from += 2 * aStep;
      to += 2 * yStep;
    }
    start += width;
  }
}

// sum[2, 24] (+)= over `count` places a[p, 2] * b[p, 24]; the places of a are PLACE bytes apart.
function accumulate24(a: usize, b: usize, count: i32, sum: usize, sumStep: usize, first: bool): void {
  let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0), a4 = f32x4.splat(0), a5 = f32x4.splat(0);
  let b0 = f32x4.splat(0), b1 = f32x4.splat(0), b2 = f32x4.splat(0), b3 = f32x4.splat(0), b4 = f32x4.splat(0), b5 = f32x4.splat(0);
  let to = sum;
  if (!first) {
    a0 = v128.load(to); a1 = v128.load(to, 16); a2 = v128.load(to, 32); a3 = v128.load(to, 48); a4 = v128.load(to, 64); a5 = v128.load(to, 80);
    to += sumStep;
    b0 = v128.load(to); b1 = v128.load(to, 16); b2 = v128.load(to, 32); b3 = v128.load(to, 48); b4 = v128.load(to, 64); b5 = v128.load(to, 80);
  }
  let c = a + 4;
  const end = a + <usize>count * PLACE;
  do {
    const x = v128.load32_splat(a), z = v128.load32_splat(c);
    let w = v128.load(b);
    a0 = f32x4.add(a0, f32x4.mul(x, w)); b0 = f32x4.add(b0, f32x4.mul(z, w));
    w = v128.load(b, 16);
    a1 = f32x4.add(a1, f32x4.mul(x, w)); b1 = f32x4.add(b1, f32x4.mul(z, w));
    w = v128.load(b, 32);
    a2 = f32x4.add(a2, f32x4.mul(x, w)); b2 = f32x4.add(b2, f32x4.mul(z, w));
    w = v128.load(b, 48);
    a3 = f32x4.add(a3, f32x4.mul(x, w)); b3 = f32x4.add(b3, f32x4.mul(z, w));
    w = v128.load(b, 64);
    a4 = f32x4.add(a4, f32x4.mul(x, w)); b4 = f32x4.add(b4, f32x4.mul(z, w));
    w = v128.load(b, 80);
    a5 = f32x4.add(a5, f32x4.mul(x, w)); b5 = f32x4.add(b5, f32x4.mul(z, w));
    a += PLACE; c += PLACE; b += 96;
  } while (a < end);
  to = sum;
  v128.store(to, a0); v128.store(to, a1, 16); v128.store(to, a2, 32); v128.store(to, a3, 48); v128.store(to, a4, 64); v128.store(to, a5, 80);
  to += sumStep;
  v128.store(to, b0); v128.store(to, b1, 16); v128.store(to, b2, 32); v128.store(to, b3, 48); v128.store(to, b4, 64); v128.store(to, b5, 80);
}

// sum[2, 16] (+)= over `count` places a[p, 2] * b[p, 16]; the places of a are PLACE bytes apart.
function accumulate16(a: usize, b: usize, count: i32, sum: usize, sumStep: usize, first: bool): void {
  let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0), b1 = f32x4.splat(0), b2 = f32x4.splat(0), b3 = f32x4.splat(0);
  let to = sum;
  if (!first) {
    a0 = v128.load(to); a1 = v128.load(to, 16); a2 = v128.load(to, 32); a3 = v128.load(to, 48);
    to += sumStep;
    b0 = v128.load(to); b1 = v128.load(to, 16); b2 = v128.load(to, 32); b3 = v128.load(to, 48);
  }
  let c = a + 4;
  const end = a + <usize>count * PLACE;
  do {
    const x = v128.load32_splat(a), z = v128.load32_splat(c);
    let w = v128.load(b);
    a0 = f32x4.add(a0, f32x4.mul(x, w)); b0 = f32x4.add(b0, f32x4.mul(z, w));
    w = v128.load(b, 16);
    a1 = f32x4.add(a1, f32x4.mul(x, w)); b1 = f32x4.add(b1, f32x4.mul(z, w));
    w = v128.load(b, 32);
    a2 = f32x4.add(a2, f32x4.mul(x, w)); b2 = f32x4.add(b2, f32x4.mul(z, w));
    w = v128.load(b, 48);
    a3 = f32x4.add(a3, f32x4.mul(x, w)); b3 = f32x4.add(b3, f32x4.mul(z, w));
    a += PLACE; c += PLACE; b += 64;
  } while (a < end);
  to = sum;
  v128.store(to, a0); v128.store(to, a1, 16); v128.store(to, a2, 32); v128.store(to, a3, 48);
  to += sumStep;
  v128.store(to, b0); v128.store(to, b1, 16); v128.store(to, b2, 32); v128.store(to, b3, 48);
}

// sum[2, 8] (+)= over `count` places a[p, 2] * b[p, 8]; the places of a are PLACE bytes apart.
function accumulate8(a: usize, b: usize, count: i32, sum: usize, sumStep: usize, first: bool): void {
  let a0 = f32x4.splat(0), a1 = f32x4.splat(0);
  let b0 = f32x4.splat(0), b1 = f32x4.splat(0);
  let to = sum;
  if (!first) {
    a0 = v128.load(to); a1 = v128.load(to, 16);
    to += sumStep;
    b0 = v128.load(to); b1 = v128.load(to, 16);
  }
  let c = a + 4;
  const end = a + <usize>count * PLACE;
  do {
    const x = v128.load32_splat(a), z = v128.load32_splat(c);
    let w = v128.load(b);
    a0 = f32x4.add(a0, f32x4.mul(x, w)); b0 = f32x4.add(b0, f32x4.mul(z, w));
    w = v128.load(b, 16);
    a1 = f32x4.add(a1, f32x4.mul(x, w)); b1 = f32x4.add(b1, f32x4.mul(z, w));
    a += PLACE; c += PLACE; b += 32;
  } while (a < end);
  to = sum;
  v128.store(to, a0); v128.store(to, a1, 16);
  to += sumStep;
  v128.store(to, b0); v128.store(to, b1, 16);
}

/**
 * sum[rows, columns] (+)= over `count` places of a and b. a is f32[rows / 4, block, 4], b in panels f32[block, width] of
 * `panelWidth`, both of `block` places of which the first `count` are there. `first`: what is there does not count.
 */
export function accumulate(
  a: usize, b: usize, block: i32, count: i32, sum: usize, rows: i32, columns: i32, first: bool,
): void {
  const sumStep = <usize>columns << 2;
  for (let row = 0; row < rows; row += 2) {
    const from = a + (<usize>((row >> 2) * block) << 4) + (<usize>(row & 3) << 2);
    for (let start = 0; start < columns; ) {
      const width = panelWidth(columns, start);
      const panel = b + (<usize>(start * block) << 2);
      const to = sum + (<usize>(row * columns + start) << 2);
      if (width == 24) accumulate24(from, panel, count, to, sumStep, first);
      else if (width == 16) accumulate16(from, panel, count, to, sumStep, first);
      else accumulate8(from, panel, count, to, sumStep, first);
      start += width;
    }
  }
}
