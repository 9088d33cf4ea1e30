// The small products that everything else is made of: a tile of sums in registers, operands where they lie.

// y[rows, 8] = a[rows, inner] * panel[inner, 8], six rows at a time or four. One step of `inner` a turn of the loop:
// JavaScriptCore keeps the sums in registers so, while unrolled twice it is 10% slower, and four times 30%.
function product6(a: usize, aStep: usize, panel: usize, inner: i32, y: usize, yStep: usize): void {
  let a0 = f32x4.splat(0), b0 = f32x4.splat(0);
  let a1 = f32x4.splat(0), b1 = f32x4.splat(0);
  let a2 = f32x4.splat(0), b2 = f32x4.splat(0);
  let a3 = f32x4.splat(0), b3 = f32x4.splat(0);
  let a4 = f32x4.splat(0), b4 = f32x4.splat(0);
  let a5 = f32x4.splat(0), b5 = f32x4.splat(0);
  let p0 = a, p1 = p0 + aStep, p2 = p1 + aStep, p3 = p2 + aStep, p4 = p3 + aStep, p5 = p4 + aStep;
  const end = a + (<usize>inner << 2);
  for (; p0 < end; ) {
    const w0 = v128.load(panel), w1 = v128.load(panel, 16);
    let x = v128.load32_splat(p0);
    a0 = f32x4.add(a0, f32x4.mul(x, w0)); b0 = f32x4.add(b0, f32x4.mul(x, w1));
    x = v128.load32_splat(p1);
    a1 = f32x4.add(a1, f32x4.mul(x, w0)); b1 = f32x4.add(b1, f32x4.mul(x, w1));
    x = v128.load32_splat(p2);
    a2 = f32x4.add(a2, f32x4.mul(x, w0)); b2 = f32x4.add(b2, f32x4.mul(x, w1));
    x = v128.load32_splat(p3);
    a3 = f32x4.add(a3, f32x4.mul(x, w0)); b3 = f32x4.add(b3, f32x4.mul(x, w1));
    x = v128.load32_splat(p4);
    a4 = f32x4.add(a4, f32x4.mul(x, w0)); b4 = f32x4.add(b4, f32x4.mul(x, w1));
    x = v128.load32_splat(p5);
    a5 = f32x4.add(a5, f32x4.mul(x, w0)); b5 = f32x4.add(b5, f32x4.mul(x, w1));
    p0 += 4; p1 += 4; p2 += 4; p3 += 4; p4 += 4; p5 += 4; panel += 32;
  }
  v128.store(y, a0); v128.store(y, b0, 16); y += yStep;
  v128.store(y, a1); v128.store(y, b1, 16); y += yStep;
  v128.store(y, a2); v128.store(y, b2, 16); y += yStep;
  v128.store(y, a3); v128.store(y, b3, 16); y += yStep;
  v128.store(y, a4); v128.store(y, b4, 16); y += yStep;
  v128.store(y, a5); v128.store(y, b5, 16);
}

function product4(a: usize, aStep: usize, panel: usize, inner: i32, y: usize, yStep: usize): void {
  let a0 = f32x4.splat(0), b0 = f32x4.splat(0);
  let a1 = f32x4.splat(0), b1 = f32x4.splat(0);
  let a2 = f32x4.splat(0), b2 = f32x4.splat(0);
  let a3 = f32x4.splat(0), b3 = f32x4.splat(0);
  let p0 = a, p1 = p0 + aStep, p2 = p1 + aStep, p3 = p2 + aStep;
  const end = a + (<usize>inner << 2);
  for (; p0 < end; ) {
    const w0 = v128.load(panel), w1 = v128.load(panel, 16);
    let x = v128.load32_splat(p0);
    a0 = f32x4.add(a0, f32x4.mul(x, w0)); b0 = f32x4.add(b0, f32x4.mul(x, w1));
    x = v128.load32_splat(p1);
    a1 = f32x4.add(a1, f32x4.mul(x, w0)); b1 = f32x4.add(b1, f32x4.mul(x, w1));
    x = v128.load32_splat(p2);
    a2 = f32x4.add(a2, f32x4.mul(x, w0)); b2 = f32x4.add(b2, f32x4.mul(x, w1));
    x = v128.load32_splat(p3);
    a3 = f32x4.add(a3, f32x4.mul(x, w0)); b3 = f32x4.add(b3, f32x4.mul(x, w1));
    p0 += 4; p1 += 4; p2 += 4; p3 += 4; panel += 32;
  }
  v128.store(y, a0); v128.store(y, b0, 16); y += yStep;
  v128.store(y, a1); v128.store(y, b1, 16); y += yStep;
  v128.store(y, a2); v128.store(y, b2, 16); y += yStep;
  v128.store(y, a3); v128.store(y, b3, 16);
}

/** y[rows, 8] = a[rows, inner] * panel[inner, 8] for any multiple of four rows. */
export function product(a: usize, aStep: usize, panel: usize, inner: i32, y: usize, yStep: usize, rows: i32): void {
  for (; rows >= 12; rows -= 12) {
    product6(a, aStep, panel, inner, y, yStep);
    a += 6 * aStep;
    y += 6 * yStep;
    product6(a, aStep, panel, inner, y, yStep);
    a += 6 * aStep;
    y += 6 * yStep;
  }
  for (; rows > 0; rows -= 4) {
    product4(a, aStep, panel, inner, y, yStep);
    a += 4 * aStep;
    y += 4 * yStep;
  }
}

/** sum[4 rows, 8] (+)= over `count` places a[p, 4] * b[p, 8], both contiguous. `first`: what is there does not count. */
export function accumulate48(a: usize, b: usize, count: i32, sum: usize, sumStep: usize, first: bool): void {
  let a0 = f32x4.splat(0), b0 = f32x4.splat(0);
  let a1 = f32x4.splat(0), b1 = f32x4.splat(0);
  let a2 = f32x4.splat(0), b2 = f32x4.splat(0);
  let a3 = f32x4.splat(0), b3 = f32x4.splat(0);
  let to = sum;
  if (!first) {
    a0 = v128.load(to); b0 = v128.load(to, 16); to += sumStep;
    a1 = v128.load(to); b1 = v128.load(to, 16); to += sumStep;
    a2 = v128.load(to); b2 = v128.load(to, 16); to += sumStep;
    a3 = v128.load(to); b3 = v128.load(to, 16);
  }
  // An address of its own for every load: one with an offset costs JavaScriptCore an addition and a check.
  let p1 = a + 4, p2 = a + 8, p3 = a + 12;
  const end = a + (<usize>count << 4);
  for (; a < end; ) {
    const g0 = v128.load(b), g1 = v128.load(b, 16);
    let x = v128.load32_splat(a);
    a0 = f32x4.add(a0, f32x4.mul(x, g0)); b0 = f32x4.add(b0, f32x4.mul(x, g1));
    x = v128.load32_splat(p1);
    a1 = f32x4.add(a1, f32x4.mul(x, g0)); b1 = f32x4.add(b1, f32x4.mul(x, g1));
    x = v128.load32_splat(p2);
    a2 = f32x4.add(a2, f32x4.mul(x, g0)); b2 = f32x4.add(b2, f32x4.mul(x, g1));
    x = v128.load32_splat(p3);
    a3 = f32x4.add(a3, f32x4.mul(x, g0)); b3 = f32x4.add(b3, f32x4.mul(x, g1));
    a += 16; p1 += 16; p2 += 16; p3 += 16; b += 32;
  }
  to = sum;
  v128.store(to, a0); v128.store(to, b0, 16); to += sumStep;
  v128.store(to, a1); v128.store(to, b1, 16); to += sumStep;
  v128.store(to, a2); v128.store(to, b2, 16); to += sumStep;
  v128.store(to, a3); v128.store(to, b3, 16);
}
