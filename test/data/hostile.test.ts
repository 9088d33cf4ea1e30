/** Archives that are made to harm, or are damaged as if they were: each is refused by name, in little time and memory. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { zipSync } from "fflate";
import sharp from "sharp";
import { openArrays } from "../../src/data/arrays/read.ts";
import { checkDataset } from "../../src/data/check.ts";
import { listParts } from "../../src/data/image_files.ts";
import { loadDataset } from "../../src/data/index.ts";
import { type DatasetSpec, datasetSpec, withReading } from "../../src/schema/dataset.ts";
import { temporaryFolder } from "../support/helpers.ts";
import { paxRecord, tarOf } from "../support/tar_bytes.ts";
import parquet from "./parquet.json";

const folder = temporaryFolder();
afterAll(() => folder[Symbol.dispose]());
const context = { cache: join(folder.path, "cache"), log: () => undefined };
const at = (name: string) => join(folder.path, name);
let png: Buffer;
beforeAll(async () => {
  png = await sharp({ create: { width: 8, height: 8, channels: 3, background: "red" } })
    .png()
    .toBuffer();
});

let files = 0;
function archive(bytes: Uint8Array) {
  const path = at(`archive-${files++}`);
  writeFileSync(path, bytes);
  return datasetSpec.parse(withReading({ kind: "archive", path, size: 8, maxSkipped: 1 })) as Extract<
    DatasetSpec,
    { kind: "archive" }
  >;
}

/** Within two seconds and 300 MB. */
async function refused(spec: DatasetSpec, message: string | RegExp): Promise<void> {
  const [before, start] = [process.memoryUsage().rss, performance.now()];
  await expect(loadDataset(spec, context)).rejects.toThrow(message);
  expect(performance.now() - start).toBeLessThan(2000);
  expect(process.memoryUsage().rss - before).toBeLessThan(300e6);
}

test("tar: names that lead out are refused, those from the root are below the archive, links are counted", async () => {
  for (const name of ["../../etc/x.png", "a/../../x.png", ".."]) {
    await refused(
      archive(
        tarOf([
          { name: "a.png", data: png },
          { name, data: png },
        ]),
      ),
      `is not a readable tar: it has the name ${JSON.stringify(name)}, which leads out of it`,
    );
  }
  const pax = { name: "x", type: "x", data: paxRecord("path", "../x.png") };
  await refused(archive(tarOf([pax, { name: "a.png", data: png }])), 'it has the name "../x.png"');
  const { train, notes } = await listParts(
    archive(
      tarOf([
        { name: "/data/a/1.png", data: png },
        { name: "./data/b/2.png", data: png },
        { name: "data/b/3.png", type: "2", link: "/etc/passwd" },
        { name: "data/b/4.png", type: "1", link: "../../../etc/passwd" },
      ]),
    ),
    context,
  );
  expect(train.map(({ name }) => name)).toEqual(["a/1.png", "b/2.png"]);
  expect(notes[0]).toBe("2 links are not followed");
});

test("tar: sparse files are refused, as GNU tar writes them in each of its formats", async () => {
  mkdirSync(at("holes"));
  writeFileSync(at("holes/a.png"), png);
  truncateSync(at("holes/a.png"), 2 ** 30);
  for (const format of ["gnu", "pax"]) {
    const { exitCode } = Bun.spawnSync([
      "tar",
      `--format=${format}`,
      "--sparse",
      "-cf",
      at(format),
      "-C",
      at("holes"),
      "a.png",
    ]);
    expect(exitCode).toBe(0);
    const spec = { ...archive(png), path: at(format) };
    await refused(spec, /is not a readable tar: it has the sparse file .*a\.png: pack it without --sparse/);
  }
});

test("tar: sizes that lie, and headers of gigabytes", async () => {
  const file = (more: object) =>
    archive(
      tarOf([
        { name: "a.png", data: png },
        { name: "b.png", data: png, ...more },
      ]),
    );
  await refused(file({ size: 2 ** 33 }), "in b.png");
  await refused(file({ size: 2 ** 52 }), "in b.png");
  await refused(file({ size: 2 ** 60 }), "no header at byte 1024");
  for (const type of ["x", "L"]) {
    await refused(
      file({ type, size: 2 ** 32 }),
      `it has a header of ${2 ** 32} bytes at byte 1024; 1048576 are allowed`,
    );
    await refused(file({ type, size: 2 ** 20 }), "it ends at byte");
  }
  const pax = (data: Buffer) =>
    archive(
      tarOf([
        { name: "x", type: "x", data },
        { name: "a.png", data: png },
      ]),
    );
  await refused(pax(paxRecord("size", "99999999999")), "in a.png");
  await refused(pax(paxRecord("size", "-5")), "it gives a.png the size -5");
  await refused(pax(Buffer.from("999999 path=x\n")), "it has a damaged pax header");
});

test("a zip in a zip stays packed; a file of a zip that grows out of measure is counted as broken", async () => {
  const bomb = zipSync({ "bomb.png": new Uint8Array(2 ** 26 + 1), "a.png": png }, { level: 1 });
  const nested = archive(zipSync({ "inner.zip": bomb, "a.png": png }));
  const parts = await listParts(nested, context);
  expect([parts.train.length, parts.leftOut]).toEqual([1, { ".zip": 1 }]);
  const before = process.memoryUsage().rss;
  const report = await checkDataset(archive(bomb), context);
  expect([report.train.images, report.train.broken]).toEqual([
    1,
    [expect.stringMatching(/^bomb\.png: unpacks to 67108865 bytes; 67108864 are allowed, 20 times its size$/)],
  ]);
  expect(process.memoryUsage().rss - before).toBeLessThan(100e6);
});

test("a .npz or .npy.gz that grows out of measure, or whose sizes lie", async () => {
  const zip = Buffer.from(zipSync({ "x.npy": new Uint8Array(1e6) }, { level: 9 }));
  const directory = zip.lastIndexOf(Buffer.from("x.npy")) - 46;
  expect(zip.readUInt32LE(directory)).toBe(0x02014b50);
  const spec = datasetSpec.parse({ kind: "array", path: at("arrays") });
  for (const [size, message] of [
    [2 ** 31, "arrays: x unpacks to 2147483648 bytes; 1073741824 are allowed, 20 times its size"],
    [2 ** 20, /arrays: x .*(too few|not enough) bytes/],
    [1000, /arrays: x .*too many bytes/],
  ] as const) {
    zip.writeUInt32LE(size, directory + 24);
    writeFileSync(at("arrays"), zip);
    await refused(spec, message);
  }
  writeFileSync(at("grows"), gzipSync(new Uint8Array(2 ** 22)));
  await expect(openArrays(at("grows"), { always: 2 ** 20 })).rejects.toThrow(
    "grows: unpacks to more than 1048576 bytes, 20 times its size",
  );
});

test("Parquet that is cut or lies is refused", async () => {
  const whole = Buffer.from(parquet.hf, "base64");
  for (const length of [4, 100, whole.length / 2, whole.length - 1])
    await refused(archive(whole.subarray(0, length)), "cannot be unpacked");
  const long = Buffer.from(whole);
  long.writeUInt32LE(0x7fffffff, whole.length - 8);
  await refused(archive(long), /cannot be unpacked: parquet metadata length \d+ exceeds/);
  // The first page, a dictionary: its field 3 and the number of values, as they are and in as many bytes.
  const page = whole.indexOf(Buffer.from([21, 128, 2, 76, 21, 4, 21, 0, 18, 0, 0]));
  expect(page).toBeGreaterThan(0);
  const claims = Buffer.from(whole);
  claims[page + 5] = 127;
  await refused(archive(claims), "group 0 has 2 rows and a page of -64 values");
  claims[page + 5] = 126;
  await refused(archive(claims), "group 0 has 2 rows and a page of 63 values");
  // Anywhere four or five bytes of a large number: refused, or read for what it is.
  for (let at = 0; at < whole.length; at += 13) {
    for (const number of [
      [255, 255, 255, 255, 15],
      [255, 255, 255, 127],
    ]) {
      const lies = Buffer.from(whole);
      lies.set(number.slice(0, whole.length - at), at);
      const before = process.memoryUsage().rss;
      await loadDataset(archive(lies), context).catch((error: Error) => expect(error.message).toContain("archive-"));
      expect(process.memoryUsage().rss - before).toBeLessThan(500e6);
    }
  }
});

test("a tar.gz of nothing but zeros", async () => {
  await refused(archive(gzipSync(Buffer.alloc(2 ** 20))), "holds no images");
});
