/** The words within which pairs are merged, so that no token spans two of them. */

/**
 * Letters with their marks, one digit, or other signs, each with the space before it. CLIP's pattern, with GPT-2's spaces, so that
 * nothing is lost, and without English contractions. Scripts without spaces have words of 64 characters at the most: what it takes to
 * encode a word grows with the square of its length. A prepared text has no other white space than single spaces.
 */
export const WORD = / ?[\p{L}\p{M}]{1,64}| ?\p{N}| ?[^ \p{L}\p{M}\p{N}]{1,64}/gu;

/** @param text - Prepared. A space is put before it, so that a word is the same wherever it stands. */
export const wordsOf = (text: string): string[] => ` ${text}`.match(WORD) ?? [];

/** How often each word is there. */
export function countWords(texts: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const word of wordsOf(text)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return counts;
}
