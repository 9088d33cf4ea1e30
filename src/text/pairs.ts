/** Which pairs of tokens are merged: the training of byte-pair encoding (Sennrich, Haddow and Birch 2016). */
import { bytesToTokens, FIRST_PAIR } from "./tokens.ts";

export type Pair = readonly [first: number, second: number];

/** Pairs that are rarer are not merged: they are in one text. */
const LEAST = 2;
/** Above any token. */
const BASE = 2 ** 16;

export const keyOfPair = (first: number, second: number): number => first * BASE + second;
const pairOfKey = (key: number): Pair => [Math.floor(key / BASE), key % BASE];

interface Word {
  tokens: number[];
  readonly count: number;
}

interface Candidate {
  readonly key: number;
  readonly count: number;
}

/** The more frequent one; of equally frequent ones that of the lower tokens, so that the order of texts does not matter. */
const isBefore = (a: Candidate, b: Candidate): boolean => a.count > b.count || (a.count === b.count && a.key < b.key);

/** A binary heap with the best candidate on top. */
class Heap {
  private readonly items: Candidate[] = [];

  push(item: Candidate): void {
    const { items } = this;
    let at = items.push(item) - 1;
    for (let above = (at - 1) >> 1; at > 0 && isBefore(item, items[above] as Candidate); above = (at - 1) >> 1) {
      items[at] = items[above] as Candidate;
      at = above;
    }
    items[at] = item;
  }

  pop(): Candidate | undefined {
    const { items } = this;
    const [top, last] = [items[0], items.pop()];
    if (items.length === 0 || last === undefined) return top;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= items.length) break;
      if (below + 1 < items.length && isBefore(items[below + 1] as Candidate, items[below] as Candidate)) below++;
      if (!isBefore(items[below] as Candidate, last)) break;
      items[at] = items[below] as Candidate;
      at = below;
    }
    items[at] = last;
    return top;
  }
}

/** Every `pair` as `token`, from the left. */
export function merged(tokens: readonly number[], [first, second]: Pair, token: number): number[] {
  const result: number[] = [];
  for (let i = 0; i < tokens.length; i++) {
    const isPair = tokens[i] === first && tokens[i + 1] === second;
    result.push(isPair ? token : (tokens[i] as number));
    if (isPair) i++;
  }
  return result;
}

/** How often each pair is there, and in which words: kept from merge to merge, which changes only the words that have its pair. */
class Counts {
  readonly of = new Map<number, number>();
  private readonly places = new Map<number, Set<Word>>();

  /** Adds the pairs of a word, or with -1 takes them away; `changes` sums up by how much each has changed. */
  add(word: Word, sign: 1 | -1, changes?: Map<number, number>): void {
    const { tokens, count } = word;
    for (let i = 0; i + 1 < tokens.length; i++) {
      const key = keyOfPair(tokens[i] as number, tokens[i + 1] as number);
      this.of.set(key, (this.of.get(key) ?? 0) + sign * count);
      changes?.set(key, (changes.get(key) ?? 0) + sign * count);
      if (sign < 0) continue;
      const places = this.places.get(key);
      if (places) places.add(word);
      else this.places.set(key, new Set([word]));
    }
  }

  /** The words that have a pair, or had it once, which is forgotten. */
  take(key: number): Iterable<Word> {
    const words = this.places.get(key) ?? [];
    this.places.delete(key);
    return words;
  }
}

/**
 * The pairs in the order in which they are merged: each time the most frequent one.
 *
 * @param words - How often each is there.
 * @param most - Pairs at the most; fewer where none is left that is there twice.
 */
export function trainPairs(words: ReadonlyMap<string, number>, most: number): Pair[] {
  const counts = new Counts();
  for (const [text, count] of words) {
    counts.add({ tokens: bytesToTokens(text), count }, 1);
  }
  const heap = new Heap();
  for (const [key, count] of counts.of) heap.push({ key, count });
  const pairs: Pair[] = [];
  while (pairs.length < most) {
    const best = heap.pop();
    if (!best || best.count < LEAST) break;
    const { key } = best;
    // An older candidate of a pair whose count has changed since; the newer one is in the heap as well.
    if (counts.of.get(key) !== best.count) continue;
    const pair = pairOfKey(key);
    const token = FIRST_PAIR + pairs.push(pair) - 1;
    const changes = new Map<number, number>();
    for (const word of counts.take(key)) {
      const tokens = merged(word.tokens, pair, token);
      if (tokens.length === word.tokens.length) continue;
      counts.add(word, -1, changes);
      word.tokens = tokens;
      counts.add(word, 1, changes);
    }
    counts.of.delete(key);
    for (const [of, change] of changes) {
      const count = counts.of.get(of) ?? 0;
      if (change !== 0 && count >= LEAST) heap.push({ key: of, count });
    }
  }
  return pairs;
}
