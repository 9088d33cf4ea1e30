import { expect, test } from "bun:test";
import { tokenTable } from "../../src/text/table.ts";
import { trainTokenizer } from "../../src/text/tokenizer.ts";
import { openBatches } from "../../src/train/batches.ts";
import { falseNegatives } from "../../src/train/texts.ts";

const tokenizer = trainTokenizer({ kind: "bytes" }, []);

/** Of images with one text each, in batches of 4. */
function shareOf(texts: readonly string[], epoch = 0): number {
  const numbers = new Map([...new Set(texts)].map((text, i) => [text, i]));
  const images = { pixels: new Uint8Array(new SharedArrayBuffer(texts.length)), height: 1, width: 1, channels: 1 };
  const pool = Int32Array.from(texts, (_, i) => i);
  const spec = { batchSize: 4, epochs: 2, seed: 3 };
  const batches = openBatches({ ...images, count: texts.length, labels: undefined }, pool, spec);
  const table = tokenTable(
    texts.map((text) => [text]),
    tokenizer,
    16,
  );
  const different = Int32Array.from(texts, (text) => numbers.get(text) as number);
  return falseNegatives(batches, { tokenizer, table, different }, spec as never, epoch);
}

test("false negatives: none among different texts, all among equal ones, a third where each has one twin in its batch", () => {
  expect(shareOf(["a", "b", "c", "d", "e", "f", "g", "h"])).toBe(0);
  expect(shareOf(Array(8).fill("a"))).toBe(1);
  expect(shareOf(["a", "a", "b", "b"])).toBeCloseTo(1 / 3, 12);
});

test("over many batches it is the chance to meet the same text", () => {
  const texts = Array.from({ length: 4000 }, (_, i) => `text ${i % 10}`);
  expect(Math.abs(shareOf(texts) - 399 / 3999)).toBeLessThan(0.02);
  expect(shareOf(texts, 0)).not.toBe(shareOf(texts, 1));
});
