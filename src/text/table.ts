/** The tokens of all texts of a dataset, in shared memory, and which of them an epoch takes. */
import { Stream } from "../util/random.ts";
import type { Tokenizer } from "./tokenizer_file.ts";
import { END, START } from "./tokens.ts";

/** `M` texts of `count` images, up to `length` tokens each. */
export interface TokenTable {
  /** u16[M, length]: start, the text's, end, padding. */
  readonly tokens: Uint16Array;
  /** i32[M]: tokens of each text with start and end; from 2 to `length`. */
  readonly lengths: Int32Array;
  /** i32[count + 1]: texts of image i are first[i] to first[i + 1] - 1. */
  readonly first: Int32Array;
  /** Tokens of a row. */
  readonly length: number;
  /** Texts that are longer and were cut. */
  readonly cut: number;
}

const shared = (count: number, bytes: number) => new SharedArrayBuffer(count * bytes);

/**
 * A text that is longer than the context is cut so that its end token stays.
 *
 * @param texts - By image, one or more each.
 * @param length - Tokens of the context, start and end included; 2 or more.
 * @throws RangeError for an image without a text, and for another length.
 */
export function tokenTable(texts: readonly (readonly string[])[], tokenizer: Tokenizer, length: number): TokenTable {
  if (!Number.isInteger(length) || length < 2) throw new RangeError(`length: got ${length}, allowed: 2 or more`);
  const empty = texts.findIndex((own) => own.length === 0);
  if (empty >= 0) throw new RangeError(`texts: image ${empty} has none, allowed: one or more`);
  const first = new Int32Array(shared(texts.length + 1, Int32Array.BYTES_PER_ELEMENT));
  for (const [i, own] of texts.entries()) first[i + 1] = (first[i] as number) + own.length;
  const count = first[texts.length] as number;
  const tokens = new Uint16Array(shared(count * length, Uint16Array.BYTES_PER_ELEMENT));
  const lengths = new Int32Array(shared(count, Int32Array.BYTES_PER_ELEMENT));
  let [row, cut] = [0, 0];
  for (const own of texts) {
    for (const text of own) {
      const encoded = tokenizer.encode(text);
      const used = Math.min(encoded.length, length - 2);
      if (used < encoded.length) cut++;
      tokens.set([START, ...encoded.slice(0, used), END], row * length);
      lengths[row++] = used + 2;
    }
  }
  return { tokens, lengths, first, length, cut };
}

/** The row of the text that an epoch takes of an image, each with the same probability. A function of (seed, epoch, image) alone. */
export function textOf(
  { first }: { readonly first: Int32Array },
  image: number,
  { seed, epoch }: { readonly seed: number; readonly epoch: number },
): number {
  const from = first[image] as number;
  const count = (first[image + 1] as number) - from;
  return count === 1 ? from : from + new Stream(seed, "text", epoch, image).int(count);
}
