/** Decoded images on disk: what was put is what is got, or nothing. */
import { expect, test } from "bun:test";
import { readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DecodedCache } from "../../src/data/decoded_cache.ts";
import type { Decoded } from "../../src/data/types.ts";
import { temporaryFolder } from "../support/helpers.ts";

const sizes = { count: 100, slotBytes: 4096, pixelBytes: 3, room: 1e6 };
const image = (i: number, height = 10 + i, width = 20): Decoded => ({
  pixels: Uint8Array.from({ length: height * width * 3 }, (_, p) => (p * 31 + i) & 255),
  height,
  width,
});
const same = (got: Decoded | undefined, { pixels, height, width }: Decoded) => {
  expect([got?.height, got?.width, Buffer.from(got?.pixels ?? [])]).toEqual([height, width, Buffer.from(pixels)]);
};

test("images are kept for other processes, each as it was put; one made from another file is not", async () => {
  using folder = temporaryFolder();
  const file = join(folder.path, "a.pixels");
  const [one, other, again] = Array.from({ length: 3 }, () => DecodedCache.open(file, sizes, () => undefined)) as [
    DecodedCache,
    DecodedCache,
    DecodedCache,
  ];
  expect(await one.get(3, "v1")).toBeUndefined();
  // In any order, from both, at once.
  const all = [7, 0, 3, 5, 1, 12];
  await Promise.all(all.map((i, n) => (n % 2 ? one : other).put(i, "v1", image(i))));
  for (const i of all) for (const cache of [one, other]) same(await cache.get(i, "v1"), image(i));
  expect(await one.get(2, "v1")).toBeUndefined();
  expect(await one.get(99, "v1")).toBeUndefined();
  expect(await one.get(3, "v2")).toBeUndefined();
  await other.put(3, "v2", image(4));
  same(await one.get(3, "v2"), image(4));
  same(await again.get(7, "v1"), image(7));
});

test("an entry whose pixels are damaged or cut short counts for nothing", async () => {
  using folder = temporaryFolder();
  const file = join(folder.path, "a.pixels");
  const cache = DecodedCache.open(file, sizes, () => undefined);
  for (let i = 0; i < 4; i++) await cache.put(i, "v", image(i));
  const bytes = readFileSync(file);
  const [page, entry] = [4096, 24];
  bytes[page + 4096 + 17] = (bytes[page + 4096 + 17] as number) ^ 1; // pixels of image 1
  bytes[2 * entry] = 0; // height of image 2
  writeFileSync(file, bytes);
  truncateSync(file, page + 3 * 4096 + 100);
  const got = await Promise.all([0, 1, 2, 3].map((i) => cache.get(i, "v")));
  expect(got.map(Boolean)).toEqual([true, false, false, false]);
});

test("what has no room is left out, and it is said once; a file of slots takes what is written", async () => {
  using folder = temporaryFolder();
  const file = join(folder.path, "a.pixels");
  const said: string[] = [];
  const cache = DecodedCache.open(file, { ...sizes, count: 6000, slotBytes: 2 ** 20, room: 2000 }, (m) => said.push(m));
  for (let i = 0; i < 6; i++) await cache.put(1000 * i, "v", image(0));
  expect((await Promise.all([0, 1, 2, 3, 4, 5].map((i) => cache.get(1000 * i, "v")))).filter(Boolean).length).toBe(3);
  expect(said).toEqual([expect.stringContaining("has no more room (MOCOD_CACHE_LIMIT)")]);
  expect(statSync(file).blocks * 512).toBeLessThan(100_000);
});
