// How both Winograd kernels walk over an image: in strips, tiles side by side in one row of tiles. Neighbours share the
// columns where they overlap, so the first pass of a transform, down the columns, is done once for the whole strip.

/** Where the strip is. One instance of the module serves one thread. */
export let stripImage: i32 = 0;
/** In tiles. */
export let stripY: i32 = 0;
export let stripX: i32 = 0;
export let stripTiles: i32 = 0;

/** Takes the longest strip that begins at tile `id` and ends before tile `end`. */
export function takeStrip(id: i32, end: i32, tilesY: i32, tilesX: i32): void {
  const row = id / tilesX;
  stripImage = row / tilesY;
  stripY = row - stripImage * tilesY;
  stripX = id - row * tilesX;
  stripTiles = min(end - id, tilesX - stripX);
}

/**
 * Addresses u32[side] of pixels one below another, from (y, x) on, in an image of h x w. `zeros` stands for a row
 * outside, and is as long as one. x may lie outside: the reader keeps to the columns that are there.
 */
export function fillRows(
  rows: usize, side: i32, image: usize, y: i32, x: i32, h: i32, w: i32, pixel: usize, zeros: usize,
): void {
  for (let i = y; i < y + side; i++) {
    const row = i >= 0 && i < h ? image + <usize>(i * w) * pixel : zeros;
    store<u32>(rows, <u32>(row + <usize>x * pixel));
    rows += 4;
  }
}

/** Clears vectors [from, to) of each of `lines` lines, `line` bytes apart. They are few: a call of memory.fill costs more. */
export function clearColumns(tmp: usize, from: i32, to: i32, lines: i32, line: usize): void {
  for (let j = from; j < to; j++) {
    let at = tmp + (<usize>j << 4);
    for (let i = 0; i < lines; i++) {
      v128.store(at, f32x4.splat(0));
      at += line;
    }
  }
}
