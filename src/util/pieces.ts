/** Cuts a stream into pieces of `length` bytes, the last one shorter. */
export async function* pieces(
  stream: AsyncIterable<Uint8Array>,
  length: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let piece = new Uint8Array(length);
  let have = 0;
  for await (const chunk of stream) {
    for (let at = 0; at < chunk.length; ) {
      const take = Math.min(length - have, chunk.length - at);
      piece.set(chunk.subarray(at, at + take), have);
      at += take;
      have += take;
      if (have < length) continue;
      yield piece;
      piece = new Uint8Array(length);
      have = 0;
    }
  }
  if (have > 0) yield piece.subarray(0, have);
}
