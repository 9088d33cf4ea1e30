/** Texts to tokens and back, the training of byte pairs, and the table that a run reads. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { type TokensSpec, tokensSpec } from "../../src/schema/text.ts";
import { vocabularyOf } from "../../src/schema/text_encoder.ts";
import { huggingFaceFile } from "../../src/text/hugging_face.ts";
import { trainPairs } from "../../src/text/pairs.ts";
import { textOf, tokenTable } from "../../src/text/table.ts";
import { openTokenizer, trainTokenizer } from "../../src/text/tokenizer.ts";
import { bytesToTokens, END, FIRST_PAIR, PADDING, prepared, START } from "../../src/text/tokens.ts";
import { countWords } from "../../src/text/words.ts";
import golden from "../golden/byte_pairs.json";
import theirs from "../golden/hugging_face.json";

const bpe = (vocabulary: number): TokensSpec => ({ kind: "bpe", vocabulary });
const specs: TokensSpec[] = [{ kind: "bytes" }, bpe(300), bpe(1000)];

test("pairs and tokens are those of Hugging Face's tokenizers, in eight languages", () => {
  const tokenizer = trainTokenizer(bpe(FIRST_PAIR + 700), golden.texts);
  expect(tokenizer.toJSON()).toEqual({ format: "mocod-tokenizer-1", kind: "bpe", pairs: golden.pairs as never });
  const some = golden.texts.filter((_, i) => i % 7 === 0);
  expect(some.map((text) => tokenizer.encode(text))).toEqual(golden.encoded);
});

/** The same by counting everything anew for each merge. */
function slowPairs(words: ReadonlyMap<string, number>, most: number): [number, number][] {
  let all = [...words].map(([text, count]) => ({ tokens: bytesToTokens(text), count }));
  const pairs: [number, number][] = [];
  while (pairs.length < most) {
    const counts = new Map<string, number>();
    for (const { tokens, count } of all) {
      for (let i = 1; i < tokens.length; i++) {
        const pair = `${tokens[i - 1]} ${tokens[i]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + count);
      }
    }
    const ranked = [...counts].map(([pair, count]) => ({ pair: pair.split(" ").map(Number), count }));
    ranked.sort(
      (a, b) => b.count - a.count || Number(a.pair[0]) - Number(b.pair[0]) || Number(a.pair[1]) - Number(b.pair[1]),
    );
    const best = ranked[0];
    if (!best || best.count < 2) break;
    const [first, second] = best.pair as [number, number];
    pairs.push([first, second]);
    all = all.map(({ tokens, count }) => {
      const result: number[] = [];
      for (const token of tokens) {
        // A token that has just been made is no part of the next pair.
        if (token === second && result.at(-1) === first) result[result.length - 1] = -pairs.length;
        else result.push(token);
      }
      return { tokens: result.map((token) => (token < 0 ? FIRST_PAIR - 1 - token : token)), count };
    });
  }
  return pairs;
}

test("counts that are kept from merge to merge are those of counting anew", () => {
  const word = fc.stringMatching(/^[ab]{1,12}$|^[abc]{1,5}$/);
  const words = fc.uniqueArray(fc.tuple(word, fc.integer({ min: 1, max: 5 })), {
    selector: ([text]) => text,
    maxLength: 12,
  });
  fc.assert(
    fc.property(words, (given) => {
      expect(trainPairs(new Map(given), 40)).toEqual(slowPairs(new Map(given), 40));
    }),
    { numRuns: 300 },
  );
});

test.each(specs)("any Unicode comes back as it is prepared: %o", (spec) => {
  const tokenizer = trainTokenizer(spec, golden.texts);
  expect(tokenizer.size).toBeLessThanOrEqual(vocabularyOf(spec));
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string({ unit: "grapheme" }),
    fc.constantFrom(...golden.texts),
  );
  fc.assert(
    fc.property(text, (given) => {
      const tokens = tokenizer.encode(given);
      expect(tokenizer.decode([START, ...tokens, END, PADDING])).toBe(prepared(given));
      expect(tokens.every((token) => token > END && token < tokenizer.size)).toBe(true);
      expect(openTokenizer(JSON.parse(JSON.stringify(tokenizer))).encode(given)).toEqual(tokens);
    }),
  );
  expect(tokenizer.encode("")).toEqual([]);
});

test("texts are lower-cased, in NFC, with single spaces; halves of pairs become U+FFFD", () => {
  expect(prepared("  A  Cafe\u0301\n\tÀ LA ΣΑΣ ")).toBe("a café à la σας");
  expect(prepared("x\ud83d!")).toBe("x\ufffd!");
  const { encode } = trainTokenizer({ kind: "bytes" }, []);
  expect(encode("Hi é")).toEqual([107, 108, 35, 198, 172]);
});

test("the same texts in another order make the same tokenizer; more of them are fewer tokens", () => {
  const trained = trainTokenizer(bpe(800), golden.texts);
  expect(trainTokenizer(bpe(800), golden.texts.toReversed()).toJSON()).toEqual(trained.toJSON());
  const lengthOf = (spec: TokensSpec) => {
    const tokenizer = trainTokenizer(spec, golden.texts);
    return golden.texts.reduce((sum, text) => sum + tokenizer.encode(text).length, 0);
  };
  const [bytes, few, more] = [{ kind: "bytes" } as const, bpe(400), bpe(900)].map(lengthOf) as [number, number, number];
  expect(few).toBeLessThan(0.75 * bytes);
  expect(more).toBeLessThan(0.8 * few);
  // No pair is there twice: nothing to merge.
  expect(trainTokenizer(bpe(300), ["abc"]).size).toBe(FIRST_PAIR);
  expect([...countWords(["a cat's 42 ねこ", "cat"]).keys()]).toEqual([" a", " cat", "'", "s", " 4", "2", " ねこ"]);
});

test("files and tokens that are none are refused by name", () => {
  const file = (pairs: unknown) => ({ format: "mocod-tokenizer-1", kind: "bpe", pairs });
  const refused = (given: unknown, message: string) => expect(() => openTokenizer(given, "text")).toThrow(message);
  refused({ format: "mocod-tokenizer-1", kind: "words" }, "text.kind: allowed: ");
  refused({ format: "other", kind: "bytes" }, "text.format: allowed: ");
  refused(file([[2, 5]]), "text.pairs.0.0: allowed: ");
  refused(
    file([
      [5, 6],
      [5, 260],
    ]),
    "text.pairs.1: allowed: two tokens below 260, which the pair becomes",
  );
  refused(
    file([
      [5, 6],
      [5, 6],
    ]),
    "text.pairs.1: allowed: a pair once",
  );
  expect(() => openTokenizer(file([[5, 6]])).decode([260])).toThrow("token: got 260, allowed: 0 to 259");
  for (const vocabulary of [299, 65_537, 400.5]) expect(tokensSpec.safeParse(bpe(vocabulary)).success).toBe(false);
});

test("the table: start, tokens, end and padding; what is longer is cut before its end; texts by image", () => {
  const tokenizer = trainTokenizer({ kind: "bytes" }, []);
  const table = tokenTable([["a", "bcd"], ["efgh"]], tokenizer, 5);
  const letter = (of: string) => tokenizer.encode(of)[0] as number;
  const [a, b, c, d, e, f, g] = [..."abcdefg"].map(letter) as [number, number, number, number, number, number, number];
  expect([...table.tokens]).toEqual([START, a, END, 0, 0, START, b, c, d, END, START, e, f, g, END]);
  expect([[...table.lengths], [...table.first], table.cut, table.length]).toEqual([[3, 5, 5], [0, 2, 3], 1, 5]);
  for (const part of [table.tokens, table.lengths, table.first]) expect(part.buffer).toBeInstanceOf(SharedArrayBuffer);
  expect(() => tokenTable([["a"], []], tokenizer, 5)).toThrow("texts: image 1 has none, allowed: one or more");
  expect(() => tokenTable([["a"]], tokenizer, 1)).toThrow("length: got 1, allowed: 2 or more");
});

test("which text an epoch takes depends on seed, epoch and image alone, and each comes as often", () => {
  const first = Int32Array.of(0, 3, 4, 8);
  const drawn = (image: number, seed: number) =>
    Array.from({ length: 4000 }, (_, epoch) => textOf({ first }, image, { seed, epoch }));
  expect(new Set(drawn(1, 1))).toEqual(new Set([3]));
  expect(drawn(0, 1)).toEqual(drawn(0, 1));
  expect(drawn(0, 1)).not.toEqual(drawn(0, 2));
  for (const text of [4, 5, 6, 7]) {
    const share = drawn(2, 1).filter((of) => of === text).length / 4000;
    expect(share).toBeCloseTo(1 / 4, 1);
  }
});

test.each([
  ["bytes", { kind: "bytes" }],
  ["bpe", bpe(500)],
] as const)("what Hugging Face's tokenizers reads of our file encodes a row of the token table: %s", (kind, spec) => {
  const tokenizer = trainTokenizer(spec, golden.texts);
  const { context, texts } = theirs;
  expect(huggingFaceFile(tokenizer.toJSON(), context)).toEqual(theirs.files[kind]);
  const { tokens } = tokenTable(
    texts.map((text) => [text]),
    tokenizer,
    context,
  );
  theirs.rows[kind].forEach((row, i) => {
    const own = [...tokens.subarray(i * context, (i + 1) * context)];
    expect(own).toEqual(row);
    expect(tokenizer.decode(own)).toBe(theirs.decoded[kind][i] as string);
  });
});

test("tokens of the same bytes have no Hugging Face file", () => {
  const [a, b, c] = bytesToTokens("abc") as [number, number, number];
  const pairs = [
    [a, b],
    [b, c],
    [FIRST_PAIR, c],
  ] as [number, number][];
  const file = (of: [number, number][]) => ({ format: "mocod-tokenizer-1", kind: "bpe", pairs: of }) as const;
  expect(huggingFaceFile(file(pairs), 8)).toBeDefined();
  expect(huggingFaceFile(file([...pairs, [a, FIRST_PAIR + 1]]), 8)).toBeUndefined();
});
