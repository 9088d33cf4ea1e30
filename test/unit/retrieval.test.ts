import { beforeAll, describe, expect, test } from "bun:test";
import { imagesOf, ranks, recallOf, uniqueTexts } from "../../src/evaluate/retrieval.ts";
import { openDevice } from "../../src/kernels/index.ts";
import { Stream } from "../../src/util/random.ts";

beforeAll(openDevice);

const rows = (...of: number[][]) => ({ features: Float32Array.from(of.flat()), count: of.length });
const right = (...of: number[][]) => of.map((some) => Int32Array.from(some));
const all = (...of: Parameters<typeof ranks>) => [...ranks(...of)].flatMap((some) => [...some]);

describe("ranks", () => {
  test("the place of the first right answer by cosine, whatever the lengths are", () => {
    const queries = rows([1, 0], [0, 5]);
    const candidates = rows([9, 1], [1, 1], [0, 0.1]);
    expect(all(queries, candidates, right([0], [1]), 2)).toEqual([1, 2]);
    expect(all(queries, candidates, right([2], [0]), 2)).toEqual([3, 3]);
  });

  test("several right answers: the best of them counts, and the others do not stand before it", () => {
    expect(all(rows([1, 0]), rows([1, 0], [1, 0], [0, 1]), right([0, 1]), 2)).toEqual([1]);
    expect(all(rows([1, 0]), rows([1, 0], [1, 0.1], [1, 0.2]), right([1, 2]), 2)).toEqual([2]);
  });

  test("features that are all the same find nothing", () => {
    const same = rows(...Array.from({ length: 20 }, () => [1, 2]));
    const found = all(same, same, right(...Array.from({ length: 20 }, (_, i) => [i])), 2);
    expect(found).toEqual(Array(20).fill(20));
    expect(recallOf(Int32Array.from(found))).toEqual({ at1: 0, at5: 0, at10: 0, medianRank: 20 });
  });

  test("more queries than one block, against a sort of all cosines; from a later block on the same", () => {
    const random = new Stream(1, "view", 0);
    const [count, dim] = [600, 8];
    const noise = () => ({ features: Float32Array.from({ length: count * dim }, () => random.normal()), count });
    const [queries, candidates] = [noise(), noise()];
    const own = Array.from({ length: count }, (_, i) => Int32Array.of(i));
    const vector = ({ features }: { features: Float32Array }, i: number) => {
      const of = [...features.subarray(i * dim, (i + 1) * dim)];
      const norm = Math.hypot(...of);
      return of.map((x) => x / norm);
    };
    const expected = own.map((_, i) => {
      const q = vector(queries, i);
      const cosines = own.map((__, j) => vector(candidates, j).reduce((sum, x, c) => sum + x * (q[c] as number), 0));
      return 1 + cosines.filter((cosine, j) => j !== i && cosine >= (cosines[i] as number)).length;
    });
    expect(all(queries, candidates, own, dim)).toEqual(expected);
    expect(all(queries, candidates, own, dim, 512)).toEqual(expected.slice(512));
  });
});

test("recall at k and the median rank", () => {
  expect(recallOf(Int32Array.of(1, 1, 2, 7, 40))).toEqual({ at1: 0.4, at5: 0.6, at10: 0.8, medianRank: 2 });
});

test("a text that several images have is one text, and all of them are right answers to it", () => {
  const texts = uniqueTexts([["a cat", "cat"], ["cat", "cat"], ["dog"]]);
  expect(texts.texts).toEqual(["a cat", "cat", "dog"]);
  expect(texts.own.map((of) => [...of])).toEqual([[0, 1], [1], [2]]);
  expect(imagesOf(texts).map((of) => [...of])).toEqual([[0], [0, 1], [2]]);
});
