/** What every tokenizer has: three special tokens, then a token for each byte. */

export const PADDING = 0;
export const START = 1;
export const END = 2;
/** Token of byte 0. */
export const FIRST_BYTE = 3;
/** The first token that is more than a byte. */
export const FIRST_PAIR = FIRST_BYTE + 256;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const bytesToTokens = (text: string): number[] => Array.from(encoder.encode(text), (byte) => FIRST_BYTE + byte);

/** What is cut within a character ends in U+FFFD. */
export const textOfBytes = (bytes: readonly number[]): string => decoder.decode(Uint8Array.from(bytes));

/**
 * A text as it is encoded: lower case and single spaces, as CLIP's, in NFC. Half of a surrogate pair, which UTF-8 cannot have, becomes
 * U+FFFD.
 */
export const prepared = (text: string): string =>
  text.toWellFormed().toLowerCase().normalize("NFC").replace(/\s+/gu, " ").trim();

/** Throws RangeError for a token that there is not. */
export function expectToken(token: number, size: number): void {
  if (!Number.isInteger(token) || token < 0 || token >= size) {
    throw new RangeError(`token: got ${token}, allowed: 0 to ${size - 1}`);
  }
}
