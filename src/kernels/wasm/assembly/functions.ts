// Functions of four numbers at a time, as polynomials: the module may hold no tables (see build.ts). And sums.

/** e^x of four numbers, each at most 0: to 1e-7 relative, 0 below -87 (the range reduction and polynomial of Cephes' expf). */
export function exp4(x: v128): v128 {
  const far = f32x4.lt(x, f32x4.splat(-87));
  x = f32x4.max(x, f32x4.splat(-87));
  const n = f32x4.nearest(f32x4.mul(x, f32x4.splat(1.44269504088896341)));
  let r = f32x4.sub(x, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.sub(r, f32x4.mul(n, f32x4.splat(-2.12194440e-4)));
  let p = f32x4.splat(1.9875691500e-4);
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.3981999507e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(8.3334519073e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(4.1665795894e-2));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.6666665459e-1));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(5.0000001201e-1));
  p = f32x4.add(f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r), f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23);
  return v128.andnot(f32x4.mul(p, power), far);
}

/** The sum of four numbers, in float64. */
// @ts-ignore: AssemblyScript decorator
@inline
export function total(v: v128): f64 {
  return (
    <f64>f32x4.extract_lane(v, 0) + <f64>f32x4.extract_lane(v, 1) +
    (<f64>f32x4.extract_lane(v, 2) + <f64>f32x4.extract_lane(v, 3))
  );
}

/** erf(x) of four numbers, to 4e-7: a rational minimax approximation on [-4, 4], beyond which it is 1 to float32. */
// @ts-ignore: AssemblyScript decorator
@inline
export function erf4(v: v128): v128 {
  const x = f32x4.max(f32x4.min(v, f32x4.splat(4)), f32x4.splat(-4));
  const s = f32x4.mul(x, x);
  let p = f32x4.splat(-2.72614225801306e-10);
  p = f32x4.add(f32x4.mul(p, s), f32x4.splat(2.77068142495902e-08));
  p = f32x4.add(f32x4.mul(p, s), f32x4.splat(-2.10102402082508e-06));
  p = f32x4.add(f32x4.mul(p, s), f32x4.splat(-5.69250639462346e-05));
  p = f32x4.add(f32x4.mul(p, s), f32x4.splat(-7.34990630326855e-04));
  p = f32x4.add(f32x4.mul(p, s), f32x4.splat(-2.95459980854025e-03));
  p = f32x4.add(f32x4.mul(p, s), f32x4.splat(-1.60960333262415e-02));
  let q = f32x4.splat(-1.45660718464996e-05);
  q = f32x4.add(f32x4.mul(q, s), f32x4.splat(-2.13374055278905e-04));
  q = f32x4.add(f32x4.mul(q, s), f32x4.splat(-1.68282697438203e-03));
  q = f32x4.add(f32x4.mul(q, s), f32x4.splat(-7.37332916720468e-03));
  q = f32x4.add(f32x4.mul(q, s), f32x4.splat(-1.42647390514189e-02));
  return f32x4.div(f32x4.mul(x, p), q);
}

/** wide f64[n] += narrow f32[n], which is cleared: sums run in float32 for some rows, and in float64 over those. */
export function widen(narrow: usize, wide: usize, n: i32): void {
  for (let k = 0; k < n; k++) {
    store<f64>(wide, load<f64>(wide) + <f64>load<f32>(narrow));
    store<f32>(narrow, 0);
    wide += 8;
    narrow += 4;
  }
}
