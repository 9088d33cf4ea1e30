/** Datasets that the service imports by their URLs: continued by another process, refused by name, stopped. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { zipSync } from "fflate";
import sharp from "sharp";
import { targetOf } from "../../src/queue/addresses.ts";
import { HttpSource } from "../../src/queue/imports/http_source.ts";
import { freePort } from "../../src/queue/redis.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { PART_BYTES, Uploads } from "../../src/store/uploads.ts";
import { inRanges, serveFiles } from "../support/files_server.ts";
import { eventually } from "../support/helpers.ts";
import { type S3, startS3 } from "../support/s3.ts";
import { type Service, startService } from "../support/service.ts";

/** Knows no ranges, and breaks off within the third part at first. */
async function serveWhole(bytes: Uint8Array) {
  let asked = 0;
  const server = createServer((_, response) => {
    response.writeHead(200, { "content-length": bytes.length });
    if (asked++ > 0) response.end(bytes);
    else response.write(bytes.subarray(0, 2.5 * PART_BYTES), () => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/whole.zip`, asked: () => asked, stop: () => server.close() };
}

const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

let service: Service;
let server: ReturnType<typeof serveFiles>;
let s3: S3;
/** Of four parts: images, and a file that is left out. */
let archive: Uint8Array;
let small: Uint8Array;
/** Opens the ranges behind the second part of `/slow.zip`. */
let gate = Promise.withResolvers<void>();

async function zipOf(red: number, more: Record<string, Uint8Array> = {}): Promise<Uint8Array> {
  const files: Record<string, Uint8Array> = { ...more };
  for (const name of ["cat", "dog"]) {
    for (let i = 0; i < 12; i++) {
      const background = { r: red, g: 9 * i, b: name === "cat" ? 20 : 90 };
      files[`${name}/${i}.png`] = await sharp({ create: { width: 20, height: 20, channels: 3, background } })
        .png()
        .toBuffer();
    }
  }
  return zipSync(files, { level: 0, mtime: new Date(2026, 0, 1) });
}

beforeAll(async () => {
  s3 = await startS3();
  const { MOCOD_STORE: _, ...credentials } = s3.variables;
  Object.assign(process.env, credentials);
  small = await zipOf(1);
  archive = await zipOf(200, { "noise.bin": new Uint8Array(randomBytes(3 * PART_BYTES)) });
  const gated: typeof inRanges = async (bytes, request) => {
    const from = Number(request.headers.get("range")?.match(/\d+/)?.[0]);
    if (from >= 2 * PART_BYTES) await gate.promise;
    return inRanges(bytes, request);
  };
  const elsewhere =
    (location: string): typeof inRanges =>
    () =>
      new Response(null, { status: 302, headers: { location } });
  server = serveFiles({
    "/slow.zip": [archive, gated],
    "/small.zip": [small, inRanges],
    "/moved": [small, elsewhere("/small.zip?signature=secret")],
    "/circle": [small, elsewhere("/circle")],
    "/file": [small, elsewhere("file:///etc/passwd")],
    "/page": [
      new TextEncoder().encode(`<!doctype html>${" ".repeat(2000)}`),
      (bytes) => new Response(bytes as Uint8Array<ArrayBuffer>, { headers: { "content-type": "text/html" } }),
    ],
    "/odd.7z": [Uint8Array.of(0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c, 0, 4), inRanges],
    "/changing.zip": [
      archive,
      async (bytes, request) => {
        const response = await inRanges(bytes, request);
        response.headers.set("etag", `"${request.headers.get("range")}"`);
        return response;
      },
    ],
    "/large.zip": [
      small,
      () => new Response("PK", { status: 206, headers: { "content-range": "bytes 0-1/2000000000" } }),
    ],
  });
  service = await startService({ MOCOD_IMPORT_PRIVATE: "1", MOCOD_UPLOAD_LIMIT: "1" });
}, 60_000);
afterAll(async () => {
  gate.resolve();
  await service.stop();
  server.stop();
  for (const name of Object.keys(s3.variables)) delete process.env[name];
  await s3.stop();
});

const ended = (id: string) =>
  eventually(async () => {
    const dataset = await service.client.dataset(id);
    return dataset.status !== "importing" && dataset;
  });
const parts = (id: string) => new LocalBlobs(service.dataDir).list(`uploads/${id}/`);

test("an import that was interrupted by a killed API is continued by another one, from the part where it was", async () => {
  const port = String(await freePort());
  const other = Bun.spawn([process.execPath, join(import.meta.dir, "../../cli/main.ts"), "serve", "--no-worker"], {
    stdio: ["ignore", "ignore", "inherit"],
    env: {
      ...process.env,
      MOCOD_DATA_DIR: service.dataDir,
      MOCOD_PORT: port,
      MOCOD_IMPORT_PRIVATE: "1",
      REDIS_URL: service.redisUrl,
    },
  });
  const url = `${server.url}/slow.zip`;
  const begun = await eventually(async () => {
    const body = JSON.stringify({ url: `${url}?signature=secret`, sha256: sha(archive) });
    const headers = { "content-type": "application/json" };
    const response = await fetch(`http://127.0.0.1:${port}/v1/datasets`, { method: "POST", headers, body }).catch(
      () => undefined, // it does not listen yet
    );
    return response && { status: response.status, body: await response.json() };
  });
  expect(begun).toMatchObject({
    status: 201,
    body: { name: "slow.zip", status: "importing", bytes: 0, total: null, url, error: null },
  });
  const { id } = begun.body;
  // Any API tells how far it is.
  await eventually(async () => (await service.client.dataset(id)).bytes === 2 * PART_BYTES);
  expect(await service.client.dataset(id)).toMatchObject({ status: "importing", total: archive.length, url });
  other.kill("SIGKILL");
  await other.exited;
  gate.resolve();
  const done = await ended(id);
  expect(done).toMatchObject({ id, status: "ready", bytes: archive.length, sha256: sha(archive), url, error: null });
  const range = (n: number) => `bytes=${n * PART_BYTES}-${(n + 1) * PART_BYTES - 1}`;
  expect(server.ranges("/slow.zip").filter((of) => of === range(0) || of === range(1))).toEqual([range(0), range(1)]);
  expect(
    Buffer.concat(
      await new Uploads(new LocalBlobs(service.dataDir)).get(id).then(async (record) => {
        if (!record) throw new Error("it is not there");
        const uploads = new Uploads(new LocalBlobs(service.dataDir));
        return Promise.all(record.parts.map((_, i) => uploads.part(record, i + 1)));
      }),
    ).equals(Buffer.from(archive)),
  ).toBe(true);
  expect(JSON.stringify(await service.client.datasets())).not.toContain("signature");
  expect(await eventually(async () => (await service.client.dataset(id)).contents)).toMatchObject({
    train: 22,
    classes: 2,
  });
}, 120_000);

test("a server that knows no ranges and breaks off is asked again; a file that was there already is kept once", async () => {
  const whole = await serveWhole(archive);
  const { id } = await service.client.importDataset({ url: whole.url, name: "again" });
  const done = await ended(id);
  expect(done).toMatchObject({ status: "ready", name: "slow.zip", sha256: sha(archive) });
  expect(done.id).not.toBe(id);
  expect(whole.asked()).toBe(2);
  whole.stop();
  // Its record is another one first, then its parts are deleted.
  await eventually(async () => (await parts(id)).length === 1);
  expect((await service.client.datasets()).map((dataset) => dataset.name)).toEqual(["slow.zip"]);
  // A job may name either id, and keeps the dataset.
  const spec = service.spec({
    dataset: id,
    augmentation: { size: 16 },
    epochs: 200,
    batchSize: 8,
    splits: 2,
    queueSize: 16,
  });
  const job = await service.client.submit("pretrain", spec);
  await expect(service.client.removeDataset(done.id)).rejects.toThrow(`job ${job.id} needs the dataset`);
  await service.client.cancel(job.id);
  await service.until(job.id, ({ status }) => status === "cancelled");
  await service.client.removeDataset(id);
  expect((await service.client.dataset(done.id)).status).toBe("ready");
}, 120_000);

test("what cannot be imported fails and says why, and leaves nothing", async () => {
  const failed = async (path: string, sha256?: string) => {
    const { id } = await service.client.importDataset({ url: server.url + path, ...(sha256 && { sha256 }) });
    const { status, error } = await ended(id);
    expect([path, status, (await parts(id)).length]).toEqual([path, "failed", 1]);
    await service.client.removeDataset(id);
    return error;
  };
  const archives = "allowed: a tar, tar.gz, tar.zst, zip or Parquet";
  expect(await failed("/page")).toBe(`url: got "no archive (text/html)", ${archives}`);
  expect(await failed("/odd.7z")).toBe(`url: got "a 7-Zip archive: 7z x it (application/octet-stream)", ${archives}`);
  expect(await failed("/none.zip?signature=secret")).toBe(
    `url: got "${server.url}/none.zip: ${server.url.slice(7)} answered 404", allowed: 200, or 206 with the range and size asked for, not encoded`,
  );
  expect(await failed("/small.zip", "0".repeat(64))).toContain(`allowed: ${sha(small)}, which the parts have`);
  expect(await failed("/changing.zip")).toContain("a file that has changed");
  expect(await failed("/large.zip")).toMatch(
    /^url: got "a file of 2000000000 bytes", allowed: \d+ bytes: MOCOD_UPLOAD_LIMIT$/,
  );
  expect(await failed("/circle")).toContain("more than 5 redirects");
  expect(await failed("/file")).toContain("a redirect to file://");
}, 60_000);

test("a redirect is followed, to addresses that are allowed only", async () => {
  const { id } = await service.client.importDataset({ url: `${server.url}/moved` });
  const { status, url, name } = await ended(id);
  expect([status, url, name]).toEqual(["ready", `${server.url}/moved`, "moved"]);
  await service.client.removeDataset(id);
  // As if the first address were public.
  const before = server.asked.length;
  const source = new HttpSource(new URL(`${server.url}/moved`), async (of) =>
    of.pathname === "/moved" ? { address: "127.0.0.1", family: 4 } : targetOf(of, false, "MOCOD_IMPORT_PRIVATE"),
  );
  await expect(source.read(0, 10, new AbortController().signal)).rejects.toThrow(
    "url: 127.0.0.1 is 127.0.0.1, which is no public address; MOCOD_IMPORT_PRIVATE=1 allows it",
  );
  expect(server.asked.slice(before).map(({ path }) => path)).toEqual(["/moved"]);
});

test("a server that sends nothing is given up for this attempt: before its answer, and within it", async () => {
  const never = Promise.withResolvers<void>();
  const silent = serveFiles({
    "/mute": [small, () => never.promise.then(() => new Response("late"))],
    "/half": [
      small,
      () =>
        new Response(
          new ReadableStream({
            async start(to) {
              to.enqueue(small.subarray(0, 100));
              await never.promise;
              to.close();
            },
          }),
        ),
    ],
  });
  const read = async (path: string) => {
    const address = { address: "127.0.0.1", family: 4 } as const;
    const source = new HttpSource(new URL(silent.url + path), async () => address, 100);
    const { body } = await source.read(0, PART_BYTES, new AbortController().signal);
    for await (const _ of body);
  };
  await expect(read("/mute")).rejects.toThrow("sent nothing for 0.1 s");
  await expect(read("/half")).rejects.toThrow("sent nothing for 0.1 s");
  never.resolve();
  silent.stop();
});

test("a URL that is not allowed is refused at once; private addresses are, unless a setting allows them", async () => {
  const refused = (url: string, message: string | RegExp, client = service.client) =>
    expect(client.importDataset({ url })).rejects.toThrow(message);
  for (const url of [
    "ftp://a.example/x.zip",
    "file:///etc/passwd",
    "https://me:secret@a.example/x",
    "s3://bucket",
    "x",
  ]) {
    await refused(url, "an http or https URL without a user or password, or s3://bucket/key");
  }
  await refused("http://no-such-host.invalid/x.zip", "http://no-such-host.invalid/x.zip");
  await expect(service.client.importDataset({ url: `${server.url}/small.zip`, sha256: "12" })).rejects.toThrow(
    'sha256: got "12", allowed: 64 hexadecimal digits',
  );
  const headers = { "content-type": "application/json" };
  for (const [body, field] of [
    ["{}", "name"],
    [`{"name": "a", "sha256": "${"0".repeat(64)}"}`, "sha256"],
  ] as const) {
    const response = await fetch(`${service.url}/v1/datasets`, { method: "POST", headers, body });
    expect([response.status, (await response.json()).errors[0].field]).toEqual([422, field]);
  }
  const strict = await startService();
  const before = server.asked.length;
  for (const host of ["127.0.0.1", "localhost", "2130706433", "[::ffff:7f00:1]"]) {
    await refused(`http://${host}:${new URL(server.url).port}/small.zip`, /no public address/, strict.client);
  }
  await strict.stop();
  expect(server.asked.length).toBe(before);
}, 60_000);

test("an import that is deleted stops", async () => {
  gate = Promise.withResolvers();
  const { id } = await service.client.importDataset({ url: `${server.url}/slow.zip` });
  await eventually(async () => (await service.client.dataset(id)).bytes === 2 * PART_BYTES);
  const late = await fetch(`${service.url}/v1/datasets/${id}/parts/3`, { method: "PUT", body: "x" });
  expect([late.status, (await late.json()).title]).toEqual([409, `dataset ${id} is importing`]);
  await service.client.removeDataset(id);
  gate.resolve();
  await expect(service.client.dataset(id)).rejects.toThrow(`there is no dataset ${id}`);
  await eventually(async () => (await parts(id)).length === 0);
  // There is room for others.
  const { id: next } = await service.client.importDataset({ url: `${server.url}/small.zip` });
  expect((await ended(next)).status).toBe("ready");
  expect(await parts(id)).toEqual([]);
  await service.client.removeDataset(next);
}, 60_000);

test("an object of a bucket is imported, with the credentials of the API; never from the store itself", async () => {
  const bucket = new Bun.S3Client({
    bucket: "runs",
    endpoint: s3.variables.S3_ENDPOINT,
    accessKeyId: s3.variables.S3_ACCESS_KEY_ID,
    secretAccessKey: s3.variables.S3_SECRET_ACCESS_KEY,
    region: s3.variables.S3_REGION,
  });
  await bucket.write("sets/pets 1.zip", await zipOf(7));
  const { id } = await service.client.importDataset({ url: "s3://runs/sets/pets 1.zip" });
  const { status, name, bytes } = await ended(id);
  expect([status, name, bytes]).toEqual(["ready", "pets 1.zip", (await zipOf(7)).length]);
  const { id: none } = await service.client.importDataset({ url: "s3://runs/sets/none.zip" });
  expect((await ended(none)).error).toBe('url: got "s3://runs/sets/none.zip", allowed: an object that is there');
  const own = await startService({ MOCOD_STORE: "s3://runs/sets" });
  await expect(own.client.importDataset({ url: "s3://runs/sets/pets 1.zip" })).rejects.toThrow(
    "an object outside of the store of the service (MOCOD_STORE)",
  );
  for (const url of ["s3://runs//sets/pets 1.zip", "s3://runs/./sets/pets 1.zip", "s3://runs/x/../sets/pets 1.zip"]) {
    await expect(own.client.importDataset({ url })).rejects.toThrow("with no empty, . or .. in the key");
  }
  await own.stop();
  const { S3_ACCESS_KEY_ID } = process.env;
  delete process.env.S3_ACCESS_KEY_ID;
  await expect(service.client.importDataset({ url: "s3://runs/sets/pets 1.zip" })).rejects.toThrow("credentials");
  process.env.S3_ACCESS_KEY_ID = S3_ACCESS_KEY_ID;
}, 60_000);

test("mocod data push of a URL prints the id, or why it failed", async () => {
  const push = async (...args: string[]) => {
    const run = Bun.spawn([process.execPath, join(import.meta.dir, "../../cli/main.ts"), "data", "push", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, MOCOD_PORT: new URL(service.url).port },
    });
    const [out, errors] = await Promise.all([new Response(run.stdout).text(), new Response(run.stderr).text()]);
    return { code: await run.exited, out: out.trim(), errors };
  };
  const good = await push(`${server.url}/small.zip`, "--name", "pets", "--sha256", sha(small));
  expect([good.code, good.out]).toEqual([0, expect.stringMatching(/^ds_\w{26}$/)]);
  expect((await service.client.dataset(good.out)).name).toBe("pets");
  const bad = await push(`${server.url}/page`);
  expect([bad.code, bad.out, bad.errors]).toEqual([1, "", expect.stringContaining("no archive (text/html)")]);
}, 60_000);
