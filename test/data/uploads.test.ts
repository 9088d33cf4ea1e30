/** Uploaded datasets in the store, and their copies on a machine. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { unpacked } from "../../src/data/listing/unpack.ts";
import { datasetCache } from "../../src/store/dataset_cache.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { PART_BYTES, Uploads } from "../../src/store/uploads.ts";
import { CacheFolder } from "../../src/util/cache_folder.ts";
import { temporaryFolder } from "../support/helpers.ts";

const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
/** Two parts and a bit. */
const file = Buffer.alloc(2 * PART_BYTES + 1000);
for (let i = 0; i < file.length; i += 4) file.writeUInt32LE(Math.imul(i, 2654435761) >>> 0, i);
const part = (n: number, of: Buffer = file) => of.subarray((n - 1) * PART_BYTES, n * PART_BYTES);

const folder = temporaryFolder();
const uploads = new Uploads(new LocalBlobs(join(folder.path, "store")));
let id: string;
beforeAll(async () => {
  ({ id } = await uploads.create("cells"));
  for (const n of [3, 1, 2]) await uploads.put(id, n, part(n));
  await uploads.complete(id, sha(file));
});
afterAll(() => folder[Symbol.dispose]());

test("parts in any order, sent twice, are the file; one that is there already is kept once", async () => {
  const { id: again } = await uploads.create("again");
  await uploads.put(again, 2, part(1)); // a wrong one, which is sent again
  for (const n of [2, 3, 1]) await uploads.put(again, n, part(n));
  expect([...(await uploads.received(again)).entries()].sort()).toEqual([
    [1, PART_BYTES],
    [2, PART_BYTES],
    [3, 1000],
  ]);
  expect((await uploads.complete(again, undefined))?.id).toBe(id);
  expect(await uploads.get(again)).toBeUndefined();
  const [only, ...others] = await uploads.all();
  expect(others).toEqual([]);
  expect(only).toMatchObject({ id, name: "cells", status: "ready", bytes: file.length, sha256: sha(file) });
  expect((await uploads.complete(id, undefined))?.id).toBe(id); // asked again, it is as it was
});

test("what is no whole file is refused, and says what is wrong", async () => {
  const { id } = await uploads.create("odd");
  const refused = (work: Promise<unknown>, message: string) => expect(work).rejects.toThrow(message);
  await refused(uploads.complete(id, undefined), "parts: got 0, allowed: at least 1");
  await refused(uploads.put(id, 0, part(1)), "part: got 0, allowed: 1 to 99999");
  await refused(uploads.put(id, 1, new Uint8Array(PART_BYTES + 1)), `allowed: 1 to ${PART_BYTES} bytes`);
  await uploads.put(id, 1, Buffer.from("short"));
  await uploads.put(id, 3, Buffer.from("end"));
  await refused(uploads.complete(id, undefined), 'parts: got "part 1 of 5 bytes"');
  await uploads.put(id, 1, part(1));
  await refused(uploads.complete(id, undefined), 'parts: got "no part 2", allowed: parts 1 to 2');
  await uploads.put(id, 2, part(2));
  await refused(uploads.complete(id, "0".repeat(64)), "which the parts have");
  expect((await uploads.get(id))?.status).toBe("uploading");
  await uploads.remove(id);
  expect(await new LocalBlobs(join(folder.path, "store")).list(`uploads/${id}/`)).toEqual([]);
  for (const none of ["../uploads", "\0", "", "__proto__", `${id}/../${id}`])
    expect(await uploads.get(none)).toBeUndefined();
});

test("there is no more room than allowed, counting what is being uploaded", async () => {
  using own = temporaryFolder();
  const small = new Uploads(new LocalBlobs(own.path), 1000);
  const { id } = await small.create("a");
  await small.put(id, 1, new Uint8Array(600));
  const { id: second } = await small.create("b");
  await expect(small.put(second, 1, new Uint8Array(500))).rejects.toThrow(
    'body: got "500 bytes", allowed: 400 bytes: MOCOD_UPLOAD_LIMIT is reached',
  );
  await small.remove(id);
  await small.put(second, 1, new Uint8Array(500));
});

test("an import of a file that is there already stands for that dataset at every moment", async () => {
  using own = temporaryFolder();
  const seen: unknown[] = [];
  let watched: string | undefined;
  class Watching extends LocalBlobs {
    private async look(): Promise<void> {
      if (watched) seen.push((await new Uploads(new LocalBlobs(own.path)).get(watched))?.status);
    }
    override async write(key: string, bytes: Uint8Array | string): Promise<void> {
      await super.write(key, bytes);
      await this.look();
    }
    override async remove(key: string): Promise<void> {
      await super.remove(key);
      await this.look();
    }
  }
  const uploads = new Uploads(new Watching(own.path));
  const first = await uploads.create("first");
  await uploads.put(first.id, 1, new Uint8Array(100));
  await uploads.complete(first.id, undefined);
  const source = { url: "https://example.org/a.zip", sha256: null };
  const second = await uploads.create("second", source);
  await uploads.put(second.id, 1, new Uint8Array(100));
  watched = second.id;
  expect((await uploads.complete(second.id, undefined, "importing"))?.id).toBe(first.id);
  expect(seen).toEqual(["ready", "ready"]); // the record is another one, then the part is deleted
});

test("the total is not measured for each part, and a limit that several processes share is met", async () => {
  using own = temporaryFolder();
  let listings = 0;
  class Counted extends LocalBlobs {
    override folders(prefix: string): Promise<string[]> {
      listings++;
      return super.folders(prefix);
    }
  }
  const uploads = new Uploads(new Counted(own.path), 1000);
  const other = new Uploads(new LocalBlobs(own.path), 1000);
  const { id } = await uploads.create("mine");
  const { id: theirs } = await other.create("theirs");
  const before = listings;
  for (let n = 1; n <= 20; n++) await uploads.put(id, n, new Uint8Array(10));
  expect(listings - before).toBe(1);
  await other.put(theirs, 1, new Uint8Array(700));
  // What is refused is refused by a new measurement.
  await expect(uploads.put(id, 21, new Uint8Array(801))).rejects.toThrow("allowed: 100 bytes");
  await expect(uploads.put(id, 21, new Uint8Array(200))).rejects.toThrow("allowed: 100 bytes");
  await other.remove(theirs);
  await uploads.put(id, 21, new Uint8Array(800));
  // Parts that arrive at a time do not take the same room.
  await uploads.remove(id);
  const { id: last } = await uploads.create("last");
  const puts = [1, 2, 3].map((n) => uploads.put(last, n, new Uint8Array(400)));
  expect((await Promise.allSettled(puts)).map(({ status }) => status).sort()).toEqual([
    "fulfilled",
    "fulfilled",
    "rejected",
  ]);
});

test("an upload that nobody completes is deleted two days later, when another one begins", async () => {
  using own = temporaryFolder();
  const blobs = new LocalBlobs(own.path);
  const old = await new Uploads(blobs).create("old");
  await blobs.write(
    `uploads/${old.id}/dataset.json`,
    JSON.stringify({ ...old, createdAt: new Date(Date.now() - 49 * 3_600_000).toISOString() }),
  );
  const fresh = await new Uploads(blobs).create("fresh");
  expect((await new Uploads(blobs).all()).map(({ id }) => id)).toEqual([fresh.id]);
});

test("a machine fetches a dataset once, whoever asks; a fetch that was killed continues; what is damaged is named", async () => {
  using own = temporaryFolder();
  const said: string[] = [];
  const log = (message: string) => void said.push(message);
  const cacheIn = (path: string) => datasetCache(uploads, { cache: new CacheFolder(path, 1e12, log), log });
  const cached = cacheIn(own.path);
  const [a, b] = await Promise.all([cached(id), cached(id)]);
  expect(a).toBe(b);
  expect(sha(readFileSync(a))).toBe(sha(file));
  const { mtimeMs } = statSync(a);
  await cached(id);
  expect(statSync(a).mtimeMs).toBe(mtimeMs); // what was unpacked of it stays good
  expect(said.filter((message) => message.includes("fetching"))).toEqual([`dataset ${id} (cells): fetching 17 MB`]);
  // Two parts had arrived, and half of another one; its process is dead.
  using other = temporaryFolder();
  mkdirSync(join(other.path, "stored"));
  const partial = join(other.path, "stored", `${sha(file)}.dataset.part`);
  writeFileSync(partial, file.subarray(0, PART_BYTES));
  appendFileSync(partial, part(2).subarray(0, 5000));
  writeFileSync(join(other.path, "stored", `${sha(file)}.dataset.lock`), String(2 ** 22 + 1));
  const resumed = await cacheIn(other.path)(id);
  expect(sha(readFileSync(resumed))).toBe(sha(file));
  expect(said.at(-1)).toEndWith("fetching 17 MB, from part 2 on");
  expect(readdirSync(join(other.path, "stored")).filter((name) => !name.includes(".use."))).toEqual([
    `${sha(file)}.dataset`,
  ]);
  // A part that was not whole on this machine, then one that is not in the store.
  using third = temporaryFolder();
  mkdirSync(join(third.path, "stored"));
  writeFileSync(join(third.path, "stored", `${sha(file)}.dataset.part`), Buffer.alloc(PART_BYTES));
  const damaged = cacheIn(third.path);
  await expect(damaged(id)).rejects.toThrow("what was fetched is not what was uploaded");
  expect(sha(readFileSync(await damaged(id)))).toBe(sha(file));
  using fourth = temporaryFolder();
  const at = join(folder.path, "store/uploads", id, "part-00002");
  const [whole, broken] = [readFileSync(at), Buffer.from(readFileSync(at))];
  broken[7] = (broken[7] as number) ^ 1;
  writeFileSync(at, broken);
  const failing = cacheIn(fourth.path);
  await expect(failing(id)).rejects.toThrow(`dataset ${id}: part 2 is damaged in the store`);
  writeFileSync(at, whole);
  expect(existsSync(await failing(id))).toBe(true);
  await expect(cached("ds_00000000000000000000000000")).rejects.toThrow("there is no such dataset");
});

test("the least recently used copy or unpacked archive is evicted, never one that a process uses", async () => {
  using own = temporaryFolder();
  const ids: string[] = [];
  for (let i = 0; i < 3; i++) {
    const { id } = await uploads.create(`small ${i}`);
    await uploads.put(id, 1, Buffer.alloc(1000, i + 1));
    await uploads.complete(id, undefined);
    ids.push(id);
  }
  const said: string[] = [];
  const cache = new CacheFolder(own.path, 5000, (message) => void said.push(message));
  const cached = datasetCache(uploads, { cache, log: () => undefined });
  const names = (kind: string, end: string) => readdirSync(join(own.path, kind)).filter((name) => name.endsWith(end));
  const [first, second] = [await cached(ids[0] as string), await cached(ids[1] as string)];
  const packed = join(own.path, "a.tar.gz");
  writeFileSync(packed, gzipSync(Buffer.alloc(2500)));
  const tar = await unpacked(packed, "gzip", cache, () => undefined);
  for (const [i, path] of [first, tar, second].entries()) utimesSync(path, i + 1, i + 1);
  // This process uses all of them.
  await cached(ids[2] as string);
  expect([names("stored", ".dataset").length, names("unpacked", ".tar").length]).toEqual([3, 1]);
  // As it is when the process that used a file has died.
  const die = (path: string) => {
    unlinkSync(`${path}.use.${process.pid}`);
    writeFileSync(`${path}.use.${2 ** 22 + 1}`, "");
  };
  die(first);
  await cached(ids[2] as string);
  expect([existsSync(first), existsSync(tar), existsSync(second)]).toEqual([false, true, true]);
  expect(said).toEqual([`evicted ${first} (0 MB) from the cache`]);
  // One more has no room again; the tar is the oldest, and is unpacked once more when it is needed.
  die(tar);
  await cached(ids[0] as string);
  expect([existsSync(first), existsSync(tar), existsSync(second)]).toEqual([true, false, true]);
  writeFileSync(`${tar}.${2 ** 22 + 1}.part`, "of a process that was killed");
  expect(statSync(await unpacked(packed, "gzip", cache, () => undefined)).size).toBe(2500);
  expect(names("unpacked", ".part")).toEqual([]);
});
