/** Questions to a worker: what is in a stored dataset, image by image, kept beside it; which images are nearest to a sentence. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { zipSync } from "fflate";
import sharp from "sharp";
import { Inspections } from "../../src/queue/inspections.ts";
import { connect } from "../../src/queue/redis.ts";
import type { DatasetReport } from "../../src/schema/dataset.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { eventually, tinyPairs, writePairs } from "../support/helpers.ts";
import { type Service, startService } from "../support/service.ts";

const main = join(import.meta.dir, "../../cli/main.ts");
let service: Service;
let id: string;
beforeAll(async () => {
  service = await startService();
  await eventually(async () => (await service.client.workers()).length === 1);
  const files: Record<string, Uint8Array> = {
    "pets/cat/broken.png": Buffer.from("no image"),
    "pets/cat/read.txt": Buffer.from("x"),
  };
  for (const [name, red] of [["cat", 250] as const, ["dog", 0] as const]) {
    for (let i = 0; i < 20; i++) {
      const background = { r: red, g: 0, b: 51 };
      files[`pets/${name}/${i}.png`] = await sharp({ create: { width: 20, height: 10, channels: 3, background } })
        .png()
        .toBuffer();
    }
  }
  id = await upload("pets", zipSync(files));
}, 60_000);
afterAll(() => service.stop());

async function upload(name: string, bytes: Uint8Array): Promise<string> {
  const { id } = await service.client.createDataset(name);
  await service.client.putPart(id, 1, bytes);
  const response = await fetch(`${service.url}/v1/datasets/${id}/complete`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  expect(response.status).toBe(200);
  return id;
}
const get = (path: string) => fetch(`${service.url}/v1/datasets/${path}`);
/** The answer behind those that say that a worker is at it. */
const computed = (path: string) =>
  eventually(async () => {
    const response = await get(path);
    if (response.status === 202) expect(response.headers.get("retry-after")).toBe("2");
    return response.status !== 202 && response;
  });
const stored = async () =>
  (await new LocalBlobs(service.dataDir).list(`uploads/${id}/`)).map((key) => key.split("/").at(-1));

test("the report of a dataset is computed by a worker, and kept", async () => {
  const response = await computed(`${id}/report`);
  expect(response.status).toBe(200);
  const { train, test: held, leftOut, notes } = (await response.json()) as DatasetReport;
  expect(held).not.toBeNull();
  const both = [train, held as DatasetReport["train"]];
  const sum = (of: (part: DatasetReport["train"]) => number) => both.reduce((total, part) => total + of(part), 0);
  expect(sum(({ images }) => images)).toBe(40);
  expect(sum(({ brokenCount }) => brokenCount)).toBe(1);
  expect(both.flatMap(({ broken }) => broken)).toEqual([expect.stringContaining("broken.png")]);
  expect([Object.keys(train.classes), train.sizes]).toEqual([["cat", "dog"], { "20x10": train.images }]);
  const cats = (train.classes.cat as number) / train.images;
  expect(train.mean[0]).toBeCloseTo((250 / 255) * cats, 6);
  expect(train.mean.slice(1)).toEqual([0, expect.closeTo(0.2, 6)]);
  expect(leftOut).toEqual({ ".txt": 1 });
  expect(notes.join()).toContain("held out");
  expect(await stored()).toContain("report.json");
});

test("thumbnails are evenly spread, at most as many as asked for, and kept", async () => {
  const response = await computed(`${id}/thumbnails?count=9`);
  expect([response.status, response.headers.get("content-type")]).toEqual([200, "image/png"]);
  const { data, info } = await sharp(await response.arrayBuffer())
    .raw()
    .toBuffer({ resolveWithObject: true });
  expect([info.width, info.height]).toEqual([3 * 64, 3 * 64]);
  const red = (row: number, column: number) =>
    data[((row * 64 + 32) * info.width + column * 64 + 32) * info.channels] as number;
  // Sorted by name: cats first, then dogs.
  expect([red(0, 0), red(2, 2)]).toEqual([250, 0]);
  expect((await get(`${id}/thumbnails?count=257`)).status).toBe(422);
  expect((await computed(`${id}/thumbnails`)).status).toBe(200);
  expect((await stored()).filter((name) => name?.startsWith("thumb"))).toEqual([
    "thumbnails-64.png",
    "thumbnails-9.png",
  ]);
});

test("mocod data show prints the report", async () => {
  const run = Bun.spawn([process.execPath, main, "data", "show", id], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, MOCOD_PORT: new URL(service.url).port },
  });
  const text = await new Response(run.stdout).text();
  expect(await run.exited).toBe(0);
  expect(text).toMatch(/^train: \d+ images, 2 classes, \d broken\n {2}cat/);
});

/** Of a request: its status, and the fields that are named with what is allowed, or the title. */
async function post(path: string, body: object): Promise<[status: number, said: Record<string, string> | string]> {
  const response = await fetch(`${service.url}/v1/jobs${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const { errors = [], title } = (await response.json()) as {
    errors?: { field: string; allowed: string }[];
    title: string;
  };
  const fields = Object.fromEntries(errors.map(({ field, allowed }) => [field, allowed]));
  return [response.status, errors.length > 0 ? fields : title];
}

let retrieval: string;
test("pairs: pretrained on, judged by both jobs, searched by a sentence; what cannot be is refused by field", async () => {
  const { client, until } = service;
  const photos = join(service.folder, "pairs");
  await writePairs(photos, 64, 24);
  const submit = (type: string, spec: object) => post("", { type, spec });
  const run = await client.submit("pretrain", tinyPairs(photos, { epochs: 1 }));
  const from = run.id;
  // As long as the run is not over, and after it.
  const { id } = await client.submit("retrieval", { from });
  const plain = await client.submit("pretrain", service.spec({ epochs: 1 }));
  const [, early] = await post(`/${id}/search`, { text: "a red bar" });
  expect(early).toMatch(/^the job is (waiting|queued|running); a search is for succeeded ones$/);
  const bare = { kind: "folder", path: photos };
  const allowed = expect.any(String);
  const towerless = { "spec.from": "a run of clip or clip-queue: moco-v2 has no text tower" };
  for (const [type, spec, fields] of [
    ["zero-shot", { from }, { "spec.classes": expect.stringContaining('"dataset", or the names') }],
    ["zero-shot", { from, classes: ["a", "b", "c"] }, { "spec.classes": expect.stringContaining("4 names") }],
    ["zero-shot", { from, classes: "dataset", templates: ["{}", "a"] }, { "spec.templates.1": allowed }],
    ["zero-shot", { from: plain.id, classes: "dataset" }, towerless],
    ["retrieval", { from: plain.id }, towerless],
    ["retrieval", { from, dataset: bare }, { "spec.dataset.texts": expect.stringContaining('"beside"') }],
    ["pretrain", tinyPairs(photos, { dataset: bare }), { "spec.dataset.texts": expect.stringContaining('"beside"') }],
  ] as const) {
    expect(await submit(type, spec)).toEqual([422, fields]);
  }
  const shot = await client.submit("zero-shot", { from, classes: "dataset", templates: ["a {} bar", "{}"] });
  await until(plain.id, (job) => job.status === "succeeded");
  expect(await submit("retrieval", { from: plain.id })).toEqual([422, towerless]);
  const judged = await until(shot.id, (job) => job.status === "succeeded");
  expect(judged.result).toMatchObject({ images: 24, classes: ["blue", "green", "grey", "red"], cut: 0 });
  const done = await until(id, (job) => job.status === "succeeded");
  expect(done.result).toMatchObject({ images: 24, cut: 0, text: { at10: expect.any(Number) } });
  expect(await client.files(id)).toContain("gallery.json");
  retrieval = id;

  const images = await client.search(id, "a red bar", 5);
  expect(images).toHaveLength(5);
  expect(images.every(({ image, place, texts }) => image === place && texts.length === 2)).toBe(true);
  const printed = Bun.spawn([process.execPath, main, "search", id, "a red bar", "--count", "5"], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, MOCOD_PORT: new URL(service.url).port },
  });
  const lines = (await new Response(printed.stdout).text()).trim().split("\n");
  expect(lines.map((line) => line.split(/ {2,}/).at(-1))).toEqual(images.map(({ texts }) => texts.join(" | ")));
  for (const [of, body, answer] of [
    [id, { text: "  " }, [422, { text: "at least 1" }]],
    [id, { text: "a".repeat(1001) }, [422, { text: "at most 1000" }]],
    [id, { text: "a".repeat(30) }, [422, "text: got 30 tokens, allowed: at most 22, the context of the text tower"]],
    [id, { text: "a", count: 0 }, [422, { count: "at least 1" }]],
    [from, { text: "a" }, [422, { id: "a retrieval job: a pretrain job has nothing to search" }]],
    ["run_00000000000000000000000000", { text: "a" }, [404, "there is no job run_00000000000000000000000000"]],
  ] as const) {
    expect(await post(`/${of}/search`, body)).toEqual(answer as never);
  }
}, 120_000);

test("what is not there, not complete or not readable is a problem; without workers only what is kept is shown", async () => {
  const { id: begun } = await service.client.createDataset("begun");
  const none = await upload("none", Buffer.from("no archive"));
  for (const of of ["report", "thumbnails"]) {
    expect((await get(`ds_00000000000000000000000000/${of}`)).status).toBe(404);
    const early = await get(`${begun}/${of}`);
    expect([early.status, (await early.json()).title]).toEqual([409, `dataset ${begun} is uploading, not complete`]);
    const unreadable = await computed(`${none}/${of}`);
    expect([unreadable.status, (await unreadable.json()).title]).toEqual([
      422,
      expect.stringContaining("not a readable tar"),
    ]);
  }
  await service.stopWorker("SIGTERM");
  await eventually(async () => (await service.client.workers()).length === 0);
  const other = await get(`${id}/thumbnails?count=10`);
  expect([other.status, (await other.json()).title]).toEqual([503, expect.stringContaining("no worker is running")]);
  expect(await post(`/${retrieval}/search`, { text: "a" })).toEqual([
    503,
    expect.stringContaining("no worker is running"),
  ]);
  expect((await get(`${id}/report`)).status).toBe(200);
  expect((await get(`${id}/thumbnails?count=9`)).status).toBe(200);
  // As while all workers are busy with other datasets: the question stays, and is answered later.
  const redis = connect(service.redisUrl);
  const inspections = new Inspections(redis, () => connect(service.redisUrl));
  const question = { what: "thumbnails", id, count: 10 } as const;
  expect(await inspections.ask(question, 1)).toBe(false);
  service.startWorker();
  await eventually(() => inspections.ask(question, 1));
  await inspections.close();
  redis.disconnect();
  expect((await get(`${id}/thumbnails?count=10`)).status).toBe(200);
  await service.client.removeDataset(id);
  expect(await stored()).toEqual([]);
});
