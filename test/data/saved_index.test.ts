/** The index of a large tar is kept while the tar is what it was. */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { entriesOfTar } from "../../src/data/listing/tar.ts";
import { CacheFolder } from "../../src/util/cache_folder.ts";
import { temporaryFolder } from "../support/helpers.ts";
import { type Member, tarOf } from "../support/tar_bytes.ts";

const COUNT = 10_000;
const bytes = tarOf(
  Array.from({ length: COUNT }, (_, i): Member => ({ name: `ä/${i}.png`, data: Buffer.from(`image ${i}`) })),
);

test("a second listing reads the index; another time, another size or a damaged index, and it reads the tar", async () => {
  using folder = temporaryFolder();
  const file = join(folder.path, "a.tar");
  const cache = new CacheFolder(folder.path, 1e12, () => undefined);
  const kept = () => readdirSync(join(folder.path, "listings")).filter((name) => name.endsWith(".index"));
  const names = async () => (await entriesOfTar(file, cache)).entries.map(({ name }) => name);
  writeFileSync(file, bytes);
  utimesSync(file, 1, 1);
  const first = await names();
  expect([first.length, first[7]]).toEqual([COUNT, "ä/7.png"]);
  // Another name, which only who reads the tar can know.
  const other = tarOf([{ name: "ä/x.png", data: Buffer.from("image 0") }]).subarray(0, 512);
  writeFileSync(file, Buffer.concat([other, bytes.subarray(512)]));
  utimesSync(file, 1, 1);
  const second = await entriesOfTar(file, cache);
  expect(second.entries.map(({ name }) => name)).toEqual(first);
  expect((await second.entries[9876]?.read())?.toString()).toBe("image 9876");
  const index = join(folder.path, "listings", kept()[0] as string);
  truncateSync(index, statSync(index).size - 8);
  expect((await names())[0]).toBe("ä/x.png");
  utimesSync(file, 2, 2);
  expect((await names())[0]).toBe("ä/x.png");
  writeFileSync(file, Buffer.concat([tarOf([{ name: "first.png" }]).subarray(0, 512), readFileSync(file)]));
  utimesSync(file, 2, 2);
  expect((await names())[0]).toBe("first.png");
  expect(kept().length).toBe(3);
});

test("a small tar has none", async () => {
  using folder = temporaryFolder();
  const file = join(folder.path, "a.tar");
  writeFileSync(file, tarOf([{ name: "a.png" }]));
  await entriesOfTar(file, new CacheFolder(folder.path, 1e12, () => undefined));
  expect(readdirSync(folder.path)).toEqual(["a.tar"]);
});
