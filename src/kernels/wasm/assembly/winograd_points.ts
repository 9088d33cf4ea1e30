// The six small matrices of Winograd's convolution of stride 2 (winograd_strided.ts), each as the additions that it is.

import { by } from "./winograd";

// T: nine vectors, `step` bytes apart at `from` -> nine at `to`: five odd points, then the even inputs.
// @ts-ignore: AssemblyScript decorator
@inline
export function intoPoints(
  d0: v128, e0: v128, d1: v128, e1: v128, d2: v128, e2: v128, d3: v128, e3: v128, d4: v128, to: usize, step: usize,
): void {
  const a = f32x4.sub(d3, d2), b = by(d1, 2);
  v128.store(to, f32x4.add(f32x4.sub(by(f32x4.sub(d0, d2), 2), d1), d3));
  v128.store(to + step, f32x4.sub(a, b));
  v128.store(to + 2 * step, f32x4.add(f32x4.sub(a, by(d2, 2)), b));
  v128.store(to + 3 * step, f32x4.sub(d3, d1));
  v128.store(to + 4 * step, f32x4.add(f32x4.sub(by(f32x4.sub(d1, d3), 2), d2), d4));
  v128.store(to + 5 * step, e0);
  v128.store(to + 6 * step, e1);
  v128.store(to + 7 * step, e2);
  v128.store(to + 8 * step, e3);
}

// T': nine points -> nine places.
// @ts-ignore: AssemblyScript decorator
@inline
export function intoPlaces(from: usize, step: usize, to: usize, toStep: usize): void {
  const v0 = v128.load(from), v1 = v128.load(from + step), v2 = v128.load(from + 2 * step);
  const v3 = v128.load(from + 3 * step), v4 = v128.load(from + 4 * step);
  const twice4 = by(v4, 2);
  v128.store(to, by(v0, 2));
  v128.store(to + 2 * toStep, f32x4.add(f32x4.sub(f32x4.sub(by(f32x4.sub(v2, v1), 2), v0), v3), twice4));
  v128.store(to + 4 * toStep, f32x4.sub(f32x4.sub(f32x4.sub(by(v0, -2), v1), by(v2, 3)), v4));
  v128.store(to + 6 * toStep, f32x4.sub(f32x4.add(f32x4.add(v0, v1), f32x4.add(v2, v3)), twice4));
  v128.store(to + 8 * toStep, v4);
  v128.store(to + toStep, v128.load(from + 5 * step));
  v128.store(to + 3 * toStep, v128.load(from + 6 * step));
  v128.store(to + 5 * toStep, v128.load(from + 7 * step));
  v128.store(to + 7 * toStep, v128.load(from + 8 * step));
}

// A: four vectors of dy -> nine points.
// @ts-ignore: AssemblyScript decorator
@inline
export function gradIntoPoints(g0: v128, g1: v128, g2: v128, g3: v128, to: usize, step: usize): void {
  const even = f32x4.add(g0, g2), odd = f32x4.add(g1, g3);
  v128.store(to, g0);
  v128.store(to + step, f32x4.add(even, odd));
  v128.store(to + 2 * step, f32x4.sub(even, odd));
  v128.store(to + 3 * step, f32x4.add(f32x4.add(g0, by(g2, 4)), f32x4.add(by(g1, 2), by(g3, 8))));
  v128.store(to + 4 * step, g3);
  v128.store(to + 5 * step, g0);
  v128.store(to + 6 * step, g1);
  v128.store(to + 7 * step, g2);
  v128.store(to + 8 * step, g3);
}

// A': nine points -> four outputs.
// @ts-ignore: AssemblyScript decorator
@inline
export function intoOutputs(from: usize, step: usize, to: usize, toStep: usize): void {
  const m1 = v128.load(from + step), m2 = v128.load(from + 2 * step), m3 = v128.load(from + 3 * step);
  const s = f32x4.add(m1, m2), d = f32x4.sub(m1, m2);
  v128.store(to, f32x4.add(f32x4.add(f32x4.add(v128.load(from), s), m3), v128.load(from + 5 * step)));
  v128.store(to + toStep, f32x4.add(f32x4.add(d, by(m3, 2)), v128.load(from + 6 * step)));
  v128.store(to + 2 * toStep, f32x4.add(f32x4.add(s, by(m3, 4)), v128.load(from + 7 * step)));
  v128.store(
    to + 3 * toStep, f32x4.add(f32x4.add(f32x4.add(d, by(m3, 8)), v128.load(from + 4 * step)), v128.load(from + 8 * step)),
  );
}

// G: three taps -> six points.
// @ts-ignore: AssemblyScript decorator
@inline
export function tapsIntoPoints(w0: v128, w1: v128, w2: v128, to: usize, step: usize): void {
  v128.store(to, by(w0, 0.5));
  v128.store(to + step, by(f32x4.add(w0, w2), -0.5));
  v128.store(to + 2 * step, by(f32x4.sub(w2, w0), 1.0 / 6));
  v128.store(to + 3 * step, f32x4.add(by(w0, 1.0 / 6), by(w2, 1.0 / 3)));
  v128.store(to + 4 * step, w2);
  v128.store(to + 5 * step, w1);
}

// G': six sums -> three taps.
// @ts-ignore: AssemblyScript decorator
@inline
export function intoTaps(from: usize, step: usize, to: usize, toStep: usize): void {
  const s1 = by(v128.load(from + step), 0.5), s2 = by(v128.load(from + 2 * step), 1.0 / 6);
  const s3 = by(v128.load(from + 3 * step), 1.0 / 6);
  v128.store(to, f32x4.add(f32x4.sub(f32x4.sub(by(v128.load(from), 0.5), s1), s2), s3));
  v128.store(to + toStep, v128.load(from + 5 * step));
  v128.store(to + 2 * toStep, f32x4.add(f32x4.add(f32x4.sub(s2, s1), by(s3, 2)), v128.load(from + 4 * step)));
}
