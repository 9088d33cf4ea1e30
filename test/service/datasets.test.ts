/** Images that are uploaded to the service, by hand and by the command line, and used on two machines over a bucket. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { zipSync } from "fflate";
import sharp from "sharp";
import { PART_BYTES } from "../../src/store/uploads.ts";
import { eventually, temporaryFolder } from "../support/helpers.ts";
import { type S3, startS3 } from "../support/s3.ts";
import { type Service, startService } from "../support/service.ts";

let s3: S3;
let service: Service;
const second = temporaryFolder();
const images: Record<string, Uint8Array> = {};
beforeAll(async () => {
  s3 = await startS3();
  Object.assign(process.env, s3.variables);
  service = await startService({ MOCOD_STORE: "s3://runs/shared", MOCOD_THREADS: "1" });
  // Another machine: the same Redis and bucket, and a disk of its own.
  service.also({ MOCOD_DATA_DIR: second.path });
  await eventually(async () => {
    const { workers } = (await (await fetch(`${service.url}/v1/workers`)).json()) as { workers: unknown[] };
    return workers.length === 2;
  }, 30);
  for (const [part, count] of [["train", 24] as const, ["val", 8] as const]) {
    for (const [name, red] of [["cat", 200] as const, ["dog", 40] as const]) {
      for (let i = 0; i < count; i++) {
        const background = { r: red, g: 5 * i, b: 250 - 9 * i };
        const image = sharp({ create: { width: 20, height: 20, channels: 3, background } });
        images[`pets/${part}/${name}/${i}.png`] = await image.png().toBuffer();
      }
    }
  }
}, 60_000);
afterAll(async () => {
  await service.stop();
  await s3.stop();
  for (const name of Object.keys(s3.variables)) delete process.env[name];
  second[Symbol.dispose]();
});

const call = async (method: string, path: string, body?: BodyInit, type = "application/json") => {
  const response = await fetch(`${service.url}/v1/datasets${path}`, {
    method,
    ...(body !== undefined && { body, headers: { "content-type": type } }),
  });
  return { status: response.status, body: response.status === 204 ? undefined : await response.json() };
};
const put = (id: string, part: number, bytes: Uint8Array) =>
  call("PUT", `/${id}/parts/${part}`, bytes as never, "application/octet-stream");

const spec = (dataset: unknown, more: object = {}) =>
  service.spec({ dataset, batchSize: 16, splits: 4, epochs: 2, augmentation: { size: 16 }, queueSize: 32, ...more });

test("a zip of train and val: uploaded, pretrained on and probed on two machines, kept while it is needed, deleted", async () => {
  const begun = await call("POST", "", JSON.stringify({ name: "pets" }));
  expect([begun.status, begun.body.status, begun.body.partBytes]).toEqual([201, "uploading", PART_BYTES]);
  const id = begun.body.id as string;
  await expect(service.client.submit("pretrain", spec(id))).rejects.toThrow(
    `spec.dataset.id: got "${id}", allowed: a dataset whose upload is complete`,
  );
  expect((await put(id, 1, zipSync(images))).status).toBe(200);
  expect((await call("GET", `/${id}`)).body.received).toEqual([1]);
  const complete = await call("POST", `/${id}/complete`, "{}");
  expect(complete.body).toMatchObject({
    id,
    status: "ready",
    contents: { train: 48, test: 16, classes: 2, error: null },
  });
  expect((await put(id, 2, Buffer.from("late"))).status).toBe(409);
  expect((await call("GET", "")).body.datasets.map((dataset: { id: string }) => dataset.id)).toEqual([id]);
  // Two jobs at a time, so both machines have one.
  const jobs = await Promise.all(
    [0, 1].map((seed) => service.client.submit("pretrain", spec(id, { seed, epochs: 60 }))),
  );
  const copies = (dataDir: string) => {
    const names = readdirSync(join(dataDir, "datasets/stored"));
    return names.filter((name) => name.endsWith(".dataset"));
  };
  await eventually(async () => {
    const states = await Promise.all(jobs.map(async ({ id }) => (await service.client.job(id)).progress?.step ?? 0));
    return states.every((step) => step > 0);
  }, 60);
  expect(copies(service.dataDir)).toEqual(copies(second.path));
  expect(copies(second.path).length).toBe(1);
  const needed = await call("DELETE", `/${id}`);
  expect([needed.status, needed.body.title]).toEqual([409, expect.stringMatching(/^job run_\w+ needs the dataset/)]);
  const [first, other] = jobs as [(typeof jobs)[0], (typeof jobs)[0]];
  const probe = await service.client.submit("knn", { from: first.id, k: 5 });
  const done = await service.until(probe.id, (job) => job.status === "succeeded", 90);
  expect(done.result).toMatchObject({ dataset: { train: 48, test: 16, classes: 2 } });
  await service.until(other.id, (job) => job.status === "succeeded", 90);
  expect((await call("DELETE", `/${id}`)).status).toBe(204);
  expect((await call("GET", `/${id}`)).status).toBe(404);
  await expect(service.client.submit("knn", { from: first.id })).rejects.toThrow(
    "a run whose dataset there still is; or give spec.dataset",
  );
}, 200_000);

test("what is wrong with an upload is said by field, and nothing larger than a part is taken", async () => {
  expect((await call("POST", "", JSON.stringify({ name: "" }))).body.errors).toEqual([
    { field: "name", got: "", allowed: "at least 1" },
  ]);
  const { id } = (await call("POST", "", JSON.stringify({ name: "odd" }))).body;
  expect((await put("ds_none", 1, Buffer.from("x"))).status).toBe(404);
  expect((await put(id, 0, Buffer.from("x"))).status).toBe(422);
  expect((await put(id, 1, Buffer.alloc(PART_BYTES + 1))).status).toBe(413);
  expect((await put(id, 1, Buffer.from("no archive"))).status).toBe(200);
  const wrong = await call("POST", `/${id}/complete`, JSON.stringify({ sha256: "0".repeat(64) }));
  expect([wrong.status, wrong.body.errors[0].field]).toEqual([422, "sha256"]);
  const complete = await call("POST", `/${id}/complete`, "{}");
  expect(complete.body.contents.error).toContain("is not a readable tar");
  await expect(service.client.submit("pretrain", spec(id))).rejects.toThrow(
    /spec\.dataset\.id: .*is not a readable tar/,
  );
  expect((await call("DELETE", `/${id}`)).status).toBe(204);
}, 60_000);

test("mocod data push: a folder, packed the same each time; interrupted, and continued", async () => {
  using folder = temporaryFolder();
  for (const [name, bytes] of Object.entries(images)) {
    mkdirSync(join(folder.path, name, ".."), { recursive: true });
    writeFileSync(join(folder.path, name), bytes);
  }
  writeFileSync(join(folder.path, "pets/.DS_Store"), "rubbish");
  const push = async (...more: string[]) => {
    const process_ = Bun.spawn(
      [
        process.execPath,
        join(import.meta.dir, "../../cli/main.ts"),
        "data",
        "push",
        join(folder.path, "pets"),
        ...more,
      ],
      { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, MOCOD_PORT: new URL(service.url).port } },
    );
    const [out, errors] = await Promise.all([
      new Response(process_.stdout).text(),
      new Response(process_.stderr).text(),
    ]);
    return { code: await process_.exited, out: out.trim(), errors };
  };
  const pushed = await push();
  expect([pushed.code, pushed.errors]).toEqual([0, expect.stringContaining("48 images, 2 classes, 16 test images")]);
  expect(pushed.out).toMatch(/^ds_\w{26}$/);
  const again = await push("--name", "again");
  expect([again.out, again.errors]).toEqual([pushed.out, expect.stringContaining("was there before, as pets")]);
  const { id } = await service.client.createDataset("half");
  const resumed = await push("--resume", id);
  expect([resumed.code, resumed.out]).toEqual([0, pushed.out]);
  await service.client.removeDataset(pushed.out);
}, 60_000);
