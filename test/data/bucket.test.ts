/** Images below a prefix of a bucket: listed once, fetched when they are needed, never copied. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import sharp from "sharp";
import { checkDataset } from "../../src/data/check.ts";
import { loadDataset } from "../../src/data/index.ts";
import { sightDataset } from "../../src/data/sighting.ts";
import { datasetSize } from "../../src/data/size.ts";
import { type Bucket, type DataContext, type FiledImages, isHeld } from "../../src/data/types.ts";
import { datasetSpec } from "../../src/schema/dataset.ts";
import { parseSpec } from "../../src/schema/job.ts";
import { openBucket, S3Blobs } from "../../src/store/s3_blobs.ts";
import { readEnv } from "../../src/util/env.ts";
import { UnreachableError } from "../../src/util/errors.ts";
import { held } from "../support/helpers.ts";
import { type Fault, type S3, startS3 } from "../support/s3.ts";

const colour = (red: number) =>
  sharp({ create: { width: 8, height: 8, channels: 3, background: { r: red, g: 100, b: 50 } } })
    .png()
    .toBuffer();

let s3: S3;
let faults: Fault[] = [];
const before = { ...process.env };
beforeAll(async () => {
  s3 = await startS3(() => faults.shift() ?? "pass");
  Object.assign(process.env, s3.variables);
  const blobs = new S3Blobs(s3.url);
  for (const [i, key] of [
    "train/cat/0.png",
    "train/cat/1.png",
    "train/dog/2.png",
    "val/cat/3.png",
    "val/dog/4.png",
  ].entries())
    await blobs.write(`pets/${key}`, await colour(10 * i));
  await blobs.write("pets/notes.txt", "pets");
  await blobs.write("petsx/other.png", await colour(1));
});
afterAll(async () => {
  await s3.stop();
  for (const name of Object.keys(s3.variables)) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
});

const context: DataContext = { cache: "/nonexistent", log: () => undefined, bucket: openBucket };
const specOf = (path: string, more: object = {}) =>
  parseSpec("pretrain", { dataset: { kind: "bucket", path, size: 8, maxSkipped: 0, ...more } }).dataset;

test("parts, classes and pixels as of a folder, held and streamed, with and without a slash at the end", async () => {
  for (const path of [`${s3.url}/pets`, `${s3.url}/pets/`]) {
    const set = await loadDataset(specOf(path), context);
    expect([set.classes, [...(set.train.labels ?? [])], [...(set.test?.labels ?? [])]]).toEqual([
      ["cat", "dog"],
      [0, 0, 1],
      [0, 1],
    ]);
    expect([0, 192, 384].map((at) => held(set.train).pixels[at])).toEqual([0, 10, 20]);
    expect(set.notes).toContain("left out: 1 .txt");
  }
  const { counts } = s3;
  const requests = counts.pass;
  const streamed = (await loadDataset(specOf(`${s3.url}/pets/`, { access: "streamed" }), context)).train as FiledImages;
  expect(isHeld(streamed)).toBe(false);
  // One page of a list, and the few images whose headers say how all are held.
  expect(counts.pass - requests).toBe(1 + 3);
  expect((await streamed.decode(2)).pixels[0]).toBe(20);
  expect(counts.pass - requests).toBe(1 + 3 + 1);
  const spec = specOf(`${s3.url}/pets/train`, { test: `${s3.url}/pets/val` });
  expect(await sightDataset(spec, context)).toMatchObject({ train: 3, test: 2, classes: 2 });
  expect(await datasetSize(spec, context)).toMatchObject({ images: 3, streamed: false });
  expect((await checkDataset(spec, context)).train).toMatchObject({ images: 3, classes: { cat: 2, dog: 1 } });
});

test("requests that fail are repeated; what is not there is named", async () => {
  faults = ["refuse", "busy", "pass", "cut", "pass"];
  expect((await loadDataset(specOf(`${s3.url}/pets/`), context)).train.count).toBe(3);
  await expect(loadDataset(specOf(`${s3.url}/none/`), context)).rejects.toThrow(
    `${s3.url}/none/: has no objects below it`,
  );
  await expect(loadDataset(specOf("s3://nowhere/x"), context)).rejects.toThrow("NoSuchBucket");
  const { bucket, ...without } = context;
  await expect(loadDataset(specOf(`${s3.url}/pets/`), without)).rejects.toThrow("buckets cannot be read here");
});

/** A bucket of so many images, which says how many are read at a time. */
function counting(count: number, read: (key: string) => Promise<Uint8Array | undefined>) {
  const seen = { now: 0, most: 0 };
  const bucket: Bucket = {
    list: async () => new Map(Array.from({ length: count }, (_, i) => [`${String(i).padStart(3, "0")}.png`, "v1"])),
    read: async (key) => {
      seen.most = Math.max(seen.most, ++seen.now);
      try {
        await Bun.sleep(1);
        return await read(key);
      } finally {
        seen.now--;
      }
    },
  };
  return { seen, context: { ...context, bucket: () => bucket } };
}

test("at most 16 images are fetched at a time, whoever asks", async () => {
  const image = await colour(1);
  const { seen, context } = counting(100, async () => image);
  const { train } = await loadDataset(specOf("s3://images/x", { access: "streamed" }), context);
  await Promise.all(Array.from({ length: 100 }, (_, i) => (train as FiledImages).decode(i)));
  expect(seen.most).toBe(16);
});

test("an outage is no damaged image: it fails the attempt and stands in for none; a missing object is one", async () => {
  const image = await colour(1);
  const down = counting(20, async (key) => {
    if (key === "007.png") throw new UnreachableError("the bucket is down");
    return image;
  });
  for (const access of ["held", "streamed"]) {
    const work = async () => {
      const { train } = await loadDataset(specOf("s3://images/x", { access, maxSkipped: 1 }), down.context);
      await (train as FiledImages).decode(7);
    };
    await expect(work()).rejects.toThrow(UnreachableError);
  }
  const missing = counting(20, async (key) => (key === "007.png" ? undefined : image));
  const set = await loadDataset(specOf("s3://images/x", { maxSkipped: 0.1 }), missing.context);
  expect([set.train.count, set.skipped]).toEqual([19, 1]);
  await expect(loadDataset(specOf("s3://images/x"), missing.context)).rejects.toThrow(
    "s3://images/x/007.png: is not in the bucket any more",
  );
});

test("where MOCOD_DATASET_ROOTS is set, a bucket must be in it", async () => {
  const roots = readEnv({ MOCOD_DATASET_ROOTS: `/data:${s3.url}/pets:s3://other` }).datasetRoots;
  expect(roots).toEqual(["/data", `${s3.url}/pets`, "s3://other"]);
  const within = { ...context, roots };
  expect((await loadDataset(specOf(`${s3.url}/pets/train`), within)).train.count).toBeGreaterThan(0);
  for (const path of [`${s3.url}/petsx`, s3.url, "s3://othe/x", "s3://otherwise"])
    await expect(loadDataset(specOf(path), within)).rejects.toThrow("MOCOD_DATASET_ROOTS");
  await expect(loadDataset(specOf(`${s3.url}/pets/train`, { test: `${s3.url}/petsx` }), within)).rejects.toThrow(
    "MOCOD_DATASET_ROOTS",
  );
  await expect(loadDataset(specOf(`${s3.url}/pets`), { ...context, roots: ["/"] })).rejects.toThrow(
    "MOCOD_DATASET_ROOTS",
  );
  for (const path of ["/data", "s3:/x", "s3://a/../b", "s3://bucket/x/..", "https://bucket/x", "s3://"])
    expect([path, datasetSpec.safeParse({ kind: "bucket", path }).success]).toEqual([path, false]);
});
