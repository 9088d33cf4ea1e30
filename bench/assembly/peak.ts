// What one thread's WASM can do at best: multiplications and additions in registers alone, and a copy of memory.

/** 48 flop a turn: six chains of multiplications and six of additions, so that no result is waited for. */
export function arithmetic(turns: i32): f32 {
  const one = f32x4.splat(1);
  let a0 = one,
    a1 = one,
    a2 = one,
    a3 = one,
    a4 = one,
    a5 = one;
  let b0 = one,
    b1 = one,
    b2 = one,
    b3 = one,
    b4 = one,
    b5 = one;
  const factor = f32x4.splat(<f32>turns / <f32>turns);
  for (let i = 0; i < turns; i++) {
    a0 = f32x4.mul(a0, factor);
    b0 = f32x4.add(b0, factor);
    a1 = f32x4.mul(a1, factor);
    b1 = f32x4.add(b1, factor);
    a2 = f32x4.mul(a2, factor);
    b2 = f32x4.add(b2, factor);
    a3 = f32x4.mul(a3, factor);
    b3 = f32x4.add(b3, factor);
    a4 = f32x4.mul(a4, factor);
    b4 = f32x4.add(b4, factor);
    a5 = f32x4.mul(a5, factor);
    b5 = f32x4.add(b5, factor);
  }
  const products = f32x4.add(f32x4.add(f32x4.add(a0, a1), f32x4.add(a2, a3)), f32x4.add(a4, a5));
  const sums = f32x4.add(f32x4.add(f32x4.add(b0, b1), f32x4.add(b2, b3)), f32x4.add(b4, b5));
  return f32x4.extract_lane(f32x4.add(products, sums), 0);
}

/** Copies `bytes`, a multiple of 64. */
export function copy(from: usize, to: usize, bytes: i32): void {
  const end = from + bytes;
  for (; from < end; from += 64) {
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
    v128.store(to, v128.load(from, 32), 32);
    v128.store(to, v128.load(from, 48), 48);
    to += 64;
  }
}
