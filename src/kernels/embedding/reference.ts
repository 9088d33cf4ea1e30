/** Token embedding in float64, and its gradient by the table for dy. table [V,C], tokens [P], dy [P,C]. */
type Values = ArrayLike<number>;

export function embeddingReference(
  { vocabulary, channels }: { vocabulary: number; channels: number },
  table: Values,
  tokens: Values,
  dy: Values,
): { y: Float64Array; dtable: Float64Array } {
  const [y, dtable] = [new Float64Array(tokens.length * channels), new Float64Array(vocabulary * channels)];
  for (let place = 0; place < tokens.length; place++) {
    for (let c = 0; c < channels; c++) {
      const [at, row] = [place * channels + c, (tokens[place] as number) * channels + c];
      y[at] = table[row] as number;
      dtable[row] = (dtable[row] as number) + (dy[at] as number);
    }
  }
  return { y, dtable };
}
