/** What a tokenizer is, and what a file has of it. */
import { z } from "zod";
import { FIRST_BYTE, FIRST_PAIR } from "./tokens.ts";

const format = z.literal("mocod-tokenizer-1");
const token = z.int().min(FIRST_BYTE);
/** Tokens have 16 bits. */
const MOST_PAIRS = 2 ** 16 - FIRST_PAIR;

export const tokenizerFile = z.discriminatedUnion("kind", [
  z.strictObject({ format, kind: z.literal("bytes") }),
  z.strictObject({
    format,
    kind: z.literal("bpe"),
    pairs: z
      .array(z.tuple([token, token]).readonly())
      .max(MOST_PAIRS)
      .readonly()
      .superRefine((pairs, context) => {
        const known = new Set<string>();
        for (const [i, pair] of pairs.entries()) {
          const name = pair.join(" ");
          const above = pair.some((of) => of >= FIRST_PAIR + i);
          if (!above && !known.has(name)) known.add(name);
          else {
            const message = above ? `two tokens below ${FIRST_PAIR + i}, which the pair becomes` : "a pair once";
            context.addIssue({ code: "custom", path: [i], message, input: pair });
          }
        }
      }),
  }),
]);
export type TokenizerFile = z.infer<typeof tokenizerFile>;

export interface Tokenizer {
  /** Tokens that there are, the three special ones included. */
  readonly size: number;
  /** Tokens of the text as it is prepared (`prepared` in tokens.ts), without start and end. */
  encode(text: string): number[];
  /** The prepared text; special tokens are none of it. Throws RangeError for a token that there is not. */
  decode(tokens: Iterable<number>): string;
  /** What `openTokenizer` makes the same one of. */
  toJSON(): TokenizerFile;
}
