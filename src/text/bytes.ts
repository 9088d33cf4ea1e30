/** A token for each byte of UTF-8. */
import type { Tokenizer } from "./tokenizer_file.ts";
import { bytesToTokens, expectToken, FIRST_BYTE, FIRST_PAIR, prepared, textOfBytes } from "./tokens.ts";

export const bytesTokenizer: Tokenizer = {
  size: FIRST_PAIR,
  encode: (text) => bytesToTokens(prepared(text)),
  decode(tokens) {
    const bytes: number[] = [];
    for (const token of tokens) {
      expectToken(token, FIRST_PAIR);
      if (token >= FIRST_BYTE) bytes.push(token - FIRST_BYTE);
    }
    return textOfBytes(bytes);
  },
  toJSON: () => ({ format: "mocod-tokenizer-1", kind: "bytes" }),
};
