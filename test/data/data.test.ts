import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import tar from "tar-stream";
import { loadCifar } from "../../src/data/cifar.ts";
import { download } from "../../src/data/download.ts";
import { loadFashionMnist } from "../../src/data/fashion_mnist.ts";
import { loadImageFiles } from "../../src/data/image_files.ts";
import { loadDataset } from "../../src/data/index.ts";
import { partition } from "../../src/data/partition.ts";
import { expectWithin } from "../../src/data/roots.ts";
import { held, temporaryFolder, writeFashionLike } from "../support/helpers.ts";

const context = { cache: "/nonexistent", log: () => undefined };
const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** A server of `files` that understands Range and remembers what was asked of it. */
function fileServer(files: Record<string, Uint8Array>) {
  const requests: (string | null)[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request) {
      const bytes = files[new URL(request.url).pathname.slice(1)];
      if (!bytes) return new Response("no", { status: 404 });
      const range = request.headers.get("range");
      requests.push(range);
      const from = range ? Number(range.match(/\d+/)?.[0]) : 0;
      if (from >= bytes.length) return new Response(null, { status: 416 });
      return new Response(bytes.slice(from) as never, { status: range ? 206 : 200 });
    },
  });
  return { url: `http://127.0.0.1:${server.port}`, requests, [Symbol.dispose]: () => server.stop(true) };
}

/** A server that promises `bytes`, sends `count` of them, and hangs up when `arrived`. */
function brokenServer(bytes: Uint8Array, count: number, arrived: () => boolean) {
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      async data(socket) {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`);
        socket.write(bytes.subarray(0, count));
        while (!arrived()) await Bun.sleep(1);
        socket.end();
      },
    },
  });
  return { url: `http://127.0.0.1:${server.port}`, [Symbol.dispose]: () => server.stop(true) };
}

test("a download is checked, and not made twice", async () => {
  using folder = temporaryFolder();
  const bytes = crypto.getRandomValues(new Uint8Array(5000));
  using server = fileServer({ a: bytes });
  const wanted = { url: `${server.url}/a`, file: join(folder.path, "x/a"), sha256: sha(bytes) };
  await download(wanted, context.log);
  await download(wanted, context.log);
  expect(readFileSync(wanted.file).equals(bytes)).toBe(true);
  expect(server.requests).toEqual([null]);
});

test("an interrupted download goes on where it broke off", async () => {
  using folder = temporaryFolder();
  const bytes = crypto.getRandomValues(new Uint8Array(5000));
  using server = fileServer({ a: bytes });
  const wanted = { url: `${server.url}/a`, file: join(folder.path, "a"), sha256: sha(bytes) };
  const part = `${wanted.file}.part`;
  using broken = brokenServer(bytes, 1234, () => existsSync(part) && statSync(part).size === 1234);
  await expect(download({ ...wanted, url: `${broken.url}/a` }, context.log)).rejects.toThrow("broke off");
  await download(wanted, context.log);
  expect(server.requests).toEqual(["bytes=1234-"]);
  expect(readFileSync(wanted.file).equals(bytes)).toBe(true);
});

test("a corrupted download is refused by name, removed, and can be made again", async () => {
  using folder = temporaryFolder();
  const bytes = crypto.getRandomValues(new Uint8Array(5000));
  const files = { a: bytes.map((b, i) => (i === 2500 ? b ^ 1 : b)) };
  using server = fileServer(files);
  const wanted = { url: `${server.url}/a`, file: join(folder.path, "a"), sha256: sha(bytes) };
  await expect(download(wanted, context.log)).rejects.toThrow(/a: wrong checksum: expected SHA-256/);
  expect(existsSync(`${wanted.file}.part`) || existsSync(wanted.file)).toBe(false);
  files.a = bytes;
  await download(wanted, context.log);
  expect(existsSync(wanted.file)).toBe(true);
});

test("a server that fails or is not there is named", async () => {
  using folder = temporaryFolder();
  using server = fileServer({});
  const at = (url: string) => download({ url, file: join(folder.path, "a"), sha256: "" }, context.log);
  await expect(at(`${server.url}/a`)).rejects.toThrow("HTTP 404");
  await expect(at("http://127.0.0.1:1/a")).rejects.toThrow("cannot download http://127.0.0.1:1/a");
});

test("Fashion-MNIST from a given folder", async () => {
  using folder = temporaryFolder();
  writeFashionLike(folder.path, 30, 10);
  const set = await loadFashionMnist(folder.path, context);
  expect(set.train).toMatchObject({ count: 30, height: 28, width: 28, channels: 1 });
  expect([...(set.test?.labels ?? [])]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("the whole of Fashion-MNIST", async () => {
  const set = await loadDataset({ kind: "fashion-mnist" }, context);
  const { pixels } = held(set.train);
  expect([set.train.count, set.test?.count, set.classes.length]).toEqual([60_000, 10_000, 10]);
  const mean = pixels.reduce((a, b) => a + b, 0) / pixels.length / 255;
  expect(mean).toBeCloseTo(0.286, 3);
});

test("a damaged IDX file is refused by name", async () => {
  using folder = temporaryFolder();
  writeFashionLike(folder.path, 30, 10);
  writeFileSync(join(folder.path, "train-images-idx3-ubyte.gz"), "not gzip");
  await expect(loadFashionMnist(folder.path, context)).rejects.toThrow("train-images-idx3-ubyte.gz: cannot be read");
});

test("CIFAR-10 and CIFAR-100 binaries: planes become channels, the fine label counts", async () => {
  using folder = temporaryFolder();
  const record = (labels: number[], value: number) => {
    const pixels = Uint8Array.from(
      { length: 3072 },
      (_, i) => (value + Math.floor(i / 1024) * 50 + (i % 1024 === 33 ? 7 : 0)) % 256,
    );
    return Buffer.concat([Uint8Array.from(labels), pixels]);
  };
  const ten = join(folder.path, "ten");
  mkdirSync(ten);
  for (let i = 1; i <= 5; i++) writeFileSync(join(ten, `data_batch_${i}.bin`), record([i], i));
  writeFileSync(join(ten, "test_batch.bin"), record([9], 9));
  writeFileSync(join(ten, "batches.meta.txt"), "airplane\nautomobile\n");
  const set = await loadCifar("cifar10", ten, context);
  expect([...(set.train.labels ?? [])]).toEqual([1, 2, 3, 4, 5]);
  expect([...held(set.train).pixels.slice(3072, 3075)]).toEqual([2, 52, 102]);
  expect([...held(set.train).pixels.slice(33 * 3, 33 * 3 + 3)]).toEqual([8, 58, 108]);
  const hundred = join(folder.path, "hundred");
  mkdirSync(hundred);
  for (const name of ["train", "test"]) writeFileSync(join(hundred, `${name}.bin`), record([3, 42], 1));
  writeFileSync(join(hundred, "fine_label_names.txt"), "apple\n");
  expect([...((await loadCifar("cifar100", hundred, context)).train.labels ?? [])]).toEqual([42]);
  writeFileSync(join(ten, "data_batch_3.bin"), "short");
  await expect(loadCifar("cifar10", ten, context)).rejects.toThrow(
    "data_batch_3.bin: expected a multiple of 3073 bytes",
  );
});

const picture = (r: number, g: number, b: number) =>
  sharp({ create: { width: 40, height: 30, channels: 3, background: { r, g, b } } });

async function writePictures(folder: string) {
  for (const [name, colour] of [
    ["blue", [0, 0, 255]],
    ["red", [255, 0, 0]],
  ] as const) {
    mkdirSync(join(folder, name), { recursive: true });
    const image = picture(...(colour as [number, number, number]));
    await image
      .clone()
      .png()
      .toFile(join(folder, name, "1.png"));
    await image
      .clone()
      .webp({ lossless: true })
      .toFile(join(folder, name, "2.webp"));
    await image
      .clone()
      .jpeg({ quality: 100 })
      .toFile(join(folder, name, "3.JPG"));
  }
}

test("a folder of images: class = folder, any format, brought to one size", async () => {
  using folder = temporaryFolder();
  await writePictures(folder.path);
  const set = await loadImageFiles(
    { kind: "folder", access: "held", path: folder.path, size: 16, maxSkipped: 0 },
    context,
  );
  expect(set.classes).toEqual(["blue", "red"]);
  expect([...(set.train.labels ?? [])]).toEqual([0, 0, 0, 1, 1, 1]);
  expect(set.train).toMatchObject({ count: 6, height: 16, width: 16, channels: 3 });
  expect([...held(set.train).pixels.slice(0, 3)]).toEqual([0, 0, 255]);
  expect([...held(set.train).pixels.slice(3 * 768, 3 * 768 + 3)]).toEqual([255, 0, 0]);
});

test("unreadable images are left out and counted; above the limit the job fails and names one", async () => {
  using folder = temporaryFolder();
  await writePictures(folder.path);
  writeFileSync(join(folder.path, "blue", "2.webp"), "not an image");
  const load = (maxSkipped: number) =>
    loadImageFiles({ kind: "folder", access: "held", path: folder.path, size: 16, maxSkipped }, context);
  const set = await load(0.5);
  expect([set.skipped, set.train.count]).toEqual([1, 5]);
  expect([...(set.train.labels ?? [])]).toEqual([0, 0, 1, 1, 1]);
  expect([...held(set.train).pixels.slice(2 * 768, 2 * 768 + 3)]).toEqual([255, 0, 0]);
  await expect(load(0.1)).rejects.toThrow(/1 of 6 images cannot be read \(first: blue\/2\.webp/);
});

test("an empty folder, and one that is not there, are named", async () => {
  using folder = temporaryFolder();
  const load = (path: string) =>
    loadImageFiles({ kind: "folder", access: "held", path, size: 16, maxSkipped: 0 }, context);
  await expect(load(folder.path)).rejects.toThrow(`${folder.path}: holds no images`);
  await expect(load(join(folder.path, "nothing"))).rejects.toThrow("nothing: is not there");
});

test("images outside class folders have no labels", async () => {
  using folder = temporaryFolder();
  await picture(1, 2, 3).png().toFile(join(folder.path, "a.png"));
  const set = await loadImageFiles(
    { kind: "folder", access: "held", path: folder.path, size: 16, maxSkipped: 0 },
    context,
  );
  expect([set.train.count, set.train.labels]).toEqual([1, undefined]);
});

test("a tar of images with a folder around it", async () => {
  using folder = temporaryFolder();
  const pack = tar.pack();
  for (const [name, r] of [
    ["train/cat/0.jpg", 200],
    ["train/dog/0.jpg", 10],
  ] as const) {
    pack.entry({ name }, await picture(r, r, r).jpeg({ quality: 100 }).toBuffer());
  }
  pack.finalize();
  const file = join(folder.path, "x.tar");
  const chunks: Buffer[] = [];
  for await (const chunk of pack) chunks.push(chunk as Buffer);
  writeFileSync(file, Buffer.concat(chunks));
  const set = await loadImageFiles({ kind: "tar", access: "held", path: file, size: 16, maxSkipped: 0 }, context);
  expect(set.classes).toEqual(["cat", "dog"]);
  expect([...(set.train.labels ?? [])]).toEqual([0, 1]);
  writeFileSync(file, "this is not a tar at all".repeat(40));
  await expect(
    loadImageFiles({ kind: "tar", access: "held", path: file, size: 16, maxSkipped: 0 }, context),
  ).rejects.toThrow("x.tar");
});

test("held-out, trained and left-over images never overlap", () => {
  const { holdout, train } = partition(100, 15, 50, 3);
  expect([holdout.length, train.length, new Set([...holdout, ...train]).size]).toEqual([15, 50, 65]);
  expect(partition(100, 15, 50, 3)).toEqual({ holdout, train });
});

test("paths of datasets stay within the roots, through links and dots, and what is outside is not told apart", async () => {
  using folder = temporaryFolder();
  const [root, outside] = [join(folder.path, "root"), join(folder.path, "root-other")];
  mkdirSync(join(root, "in"), { recursive: true });
  mkdirSync(outside);
  symlinkSync(outside, join(root, "link"));
  symlinkSync(root, join(folder.path, "alias"));
  for (const path of [root, join(root, "in"), join(root, "not-yet"), join(folder.path, "alias/in")]) {
    expectWithin(path, [root]);
  }
  const refused = [
    join(root, "link"),
    join(root, "link/x"),
    join(root, "../root-other"),
    outside,
    "/etc",
    "/no/such",
    `${root}x`,
  ];
  for (const path of refused) {
    expect(() => expectWithin(path, [root])).toThrow(`datasets may lie below ${root} only (MOCOD_DATASET_ROOTS)`);
  }
  expectWithin("/etc", undefined);
  const spec = { kind: "folder", path: outside, size: 16, access: "held", maxSkipped: 0 } as const;
  const limited = { cache: folder.path, log: () => undefined, roots: [root] };
  await expect(loadDataset(spec, limited)).rejects.toThrow("MOCOD_DATASET_ROOTS");
  await expect(loadDataset({ ...spec, path: root, test: outside }, limited)).rejects.toThrow(outside);
});
