// Rows of a table f32[V,C] by tokens i32[places], each of which is a row of it.

/** y f32[places,C] = the token's row at each place. */
export function embedTokens(table: usize, tokens: usize, y: usize, places: i32, c: i32): void {
  const row = <usize>c << 2;
  for (let place = 0; place < places; place++) {
    memory.copy(y, table + <usize>load<i32>(tokens) * row, row);
    tokens += 4;
    y += row;
  }
}

/** dtable f32[V,C] = of each row the sum of dy f32[places,C] over the places of its token, in their order. */
export function embedTokensGrad(tokens: usize, dy: usize, dtable: usize, places: i32, rows: i32, c: i32): void {
  const row = <usize>c << 2, fours = <usize>(c & ~3) << 2;
  memory.fill(dtable, 0, <usize>rows * row);
  for (let place = 0; place < places; place++) {
    const to = dtable + <usize>load<i32>(tokens) * row;
    for (let o: usize = 0; o < fours; o += 16) v128.store(to + o, f32x4.add(v128.load(to + o), v128.load(dy + o)));
    for (let o = fours; o < row; o += 4) store<f32>(to + o, load<f32>(to + o) + load<f32>(dy + o));
    tokens += 4;
    dy += row;
  }
}
