/** Byte-pair encoding: the bytes of a word, of which pairs become one token in the order in which they were trained. */
import { keyOfPair, merged, type Pair } from "./pairs.ts";
import type { Tokenizer } from "./tokenizer_file.ts";
import { bytesToTokens, expectToken, FIRST_BYTE, FIRST_PAIR, prepared, textOfBytes } from "./tokens.ts";
import { wordsOf } from "./words.ts";

/** Words whose tokens are kept: few are most of a text. */
const KEPT = 100_000;

export class BytePairs implements Tokenizer {
  readonly size: number;
  private readonly ranks: ReadonlyMap<number, number>;
  /** By token. */
  private readonly bytes: readonly (readonly number[])[];
  private readonly kept = new Map<string, readonly number[]>();

  /** @param pairs - Pair i becomes token FIRST_PAIR + i; of tokens before it. */
  constructor(private readonly pairs: readonly Pair[]) {
    this.size = FIRST_PAIR + pairs.length;
    this.ranks = new Map(pairs.map(([first, second], i) => [keyOfPair(first, second), i]));
    const bytes: (readonly number[])[] = Array.from({ length: FIRST_PAIR }, (_, token) =>
      token < FIRST_BYTE ? [] : [token - FIRST_BYTE],
    );
    for (const [first, second] of pairs) bytes.push([...(bytes[first] ?? []), ...(bytes[second] ?? [])]);
    this.bytes = bytes;
  }

  encode(text: string): number[] {
    return wordsOf(prepared(text)).flatMap((word) => this.tokensOf(word));
  }

  decode(tokens: Iterable<number>): string {
    const bytes: number[] = [];
    for (const token of tokens) {
      expectToken(token, this.size);
      bytes.push(...(this.bytes[token] as readonly number[]));
    }
    return textOfBytes(bytes).replace(/^ /, "");
  }

  toJSON() {
    return { format: "mocod-tokenizer-1" as const, kind: "bpe" as const, pairs: this.pairs };
  }

  private tokensOf(word: string): readonly number[] {
    const known = this.kept.get(word);
    if (known) return known;
    let tokens = bytesToTokens(word);
    for (let rank = this.firstIn(tokens); rank !== undefined; rank = this.firstIn(tokens)) {
      tokens = merged(tokens, this.pairs[rank] as Pair, FIRST_PAIR + rank);
    }
    if (this.kept.size === KEPT) this.kept.clear();
    this.kept.set(word, tokens);
    return tokens;
  }

  /** The pair in there that was trained first. */
  private firstIn(tokens: readonly number[]): number | undefined {
    let first: number | undefined;
    for (let i = 0; i + 1 < tokens.length; i++) {
      const rank = this.ranks.get(keyOfPair(tokens[i] as number, tokens[i + 1] as number));
      if (rank !== undefined && (first === undefined || rank < first)) first = rank;
    }
    return first;
  }
}
