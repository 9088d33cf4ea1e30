// Images f32[N,H,W,C] as rows of square patches, f32[N * (H/P) * (W/P), P*P*C]: in a row a patch's lines follow one another.
export function patches(x: usize, y: usize, n: i32, h: i32, w: i32, c: i32, side: i32): void {
  const line = <usize>(side * c) << 2, row = <usize>(w * c) << 2;
  for (let image = 0; image < n; image++) {
    for (let top = 0; top + side <= h; top += side) {
      for (let left = 0; left + side <= w; left += side) {
        let from = x + <usize>(image * h + top) * row + (<usize>(left * c) << 2);
        for (let i = 0; i < side; i++) {
          memory.copy(y, from, line);
          y += line;
          from += row;
        }
      }
    }
  }
}
