/** The real thing: a Redis, the API and a worker as processes of their own. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import type { Client } from "../../cli/client.ts";
import type { EmbedJobResult } from "../../src/judge/embed.ts";
import type { FineTuneJobResult } from "../../src/judge/fine_tune.ts";
import type { MapJobResult } from "../../src/judge/map.ts";
import type { ProbeJobResult } from "../../src/judge/probe.ts";
import type { KnnJobResult } from "../../src/judge/vote.ts";
import type { ImageMap } from "../../src/schema/evaluation.ts";
import type { Job } from "../../src/schema/job.ts";
import { decodeSafetensors } from "../../src/store/safetensors.ts";
import type { PretrainResult } from "../../src/train/pretrain.ts";
import { useSwiftShader } from "../support/devices.ts";
import { eventually } from "../support/helpers.ts";
import { type Service, startService } from "../support/service.ts";

let service: Service;
let client: Client;
let until: Service["until"];
let spec: Service["spec"];
let files: Service["files"];

beforeAll(async () => {
  service = await startService();
  ({ client, until, spec, files } = service);
});
afterAll(() => service.stop());

describe("a job", () => {
  test("pretrain and its probe run to the end, with the fields promised", async () => {
    const submitted = await client.submit("pretrain", spec(), "first");
    expect(submitted).toMatchObject({ type: "pretrain", name: "first", result: null, error: null, finishedAt: null });
    expect(submitted.spec).toMatchObject({ temperature: 0.1, dim: 16, monitor: { temperature: 0.1 } });
    // The probe waits for a run that is not over.
    const probe = await client.submit("linear-probe", { from: submitted.id, epochs: 5, baselines: true });
    expect(probe.status).toBe("waiting");
    let seen = 0;
    const job = await client.follow(submitted.id, (p) => {
      seen++;
      expect(p.steps).toBe(60);
    });
    expect(seen).toBeGreaterThan(2);
    expect(job).toMatchObject({
      status: "succeeded",
      progress: { epoch: 4, epochs: 4, step: 60, steps: 60, eta: 0 },
      result: { steps: 60, device: "wasm", threads: 2, knn: expect.any(Number) },
    });
    expect(Date.parse(job.startedAt as string)).toBeGreaterThanOrEqual(Date.parse(job.createdAt));
    const probed = await client.follow(probe.id, () => undefined);
    expect(probed.status).toBe("succeeded");
    const { top1, top5, knn, testImages, baselines } = probed.result as ProbeJobResult;
    expect(testImages).toBe(40);
    const shares = [top1, top5, knn, baselines?.pixels.top1, baselines?.untrained.top1, baselines?.untrained.knn];
    expect(shares.filter((share) => typeof share !== "number" || share < 0 || share > 1)).toEqual([]);
    expect(top1).toBeGreaterThan(0.5); // ten classes of bars: chance is 0.1
    expect(top5).toBeGreaterThanOrEqual(top1);
    const { jobs } = (await (await fetch(`${service.url}/v1/jobs?limit=2`)).json()) as { jobs: Job[] };
    expect(jobs.map((j) => j.id)).toEqual([probe.id, submitted.id]);
  }, 120_000);

  test("kNN, fine-tuning and embedding of a run: figures, baselines, files, and a backbone that stays as it was", async () => {
    const run = await client.submit("pretrain", spec({ epochs: 1 }));
    const knn = await client.submit("knn", { from: run.id, k: [5, 20], temperature: 0.1 });
    const tuned = await client.submit("fine-tune", {
      from: run.id,
      labels: 0.5,
      epochs: 8,
      batchSize: 16,
      cropScale: [1, 1],
      lr: [0.01, 0.05],
    });
    const embedded = await client.submit("embed", { from: run.id, split: "test", encoder: "key" });
    expect([knn.status, tuned.status, embedded.status]).toEqual(["waiting", "waiting", "waiting"]);
    const mapped = await client.submit("map", { from: run.id, split: "test", images: 30, neighbours: 3, views: 4 });
    const resultOf = async <T>(id: string) => (await until(id, (job) => job.status === "succeeded")).result as T;

    const voted = await resultOf<KnnJobResult>(knn.id);
    expect(voted.tried.map(({ k, temperature }) => [k, temperature])).toEqual([
      [5, 0.1],
      [20, 0.1],
    ]);
    expect(voted.tried.every(({ validation }) => validation !== null && validation >= 0 && validation <= 1)).toBe(true);
    expect(voted.top1).toBeGreaterThan(0.5); // ten classes of bars: chance is 0.1
    expect(voted.baselines?.pixels.top1).toBeGreaterThan(0.5);
    expect(voted.backbone).toMatch(/^[0-9a-f]{64}$/);
    expect(voted.confusion.flat().reduce((a, b) => a + b)).toBe(40);

    const fine = await resultOf<FineTuneJobResult>(tuned.id);
    expect(Math.abs(fine.labelledImages - 120)).toBeLessThanOrEqual(5); // half of each of ten classes, rounded
    expect(fine.tried.map(({ lr }) => lr)).toEqual([0.01, 0.05]);
    expect(fine.top1).toBeGreaterThan(0.5);
    expect(fine.baselines?.pixels.top1).toBeGreaterThan(0.5);
    expect(fine.backbone).toBe(voted.backbone);
    const path = (id: string, file: string) => join(service.dataDir, "runs", id, file);
    const model = decodeSafetensors(new Uint8Array(readFileSync(path(tuned.id, fine.file))), fine.file).tensors;
    expect(model.get("fc.weight")?.shape).toEqual([10, 32]);

    const { images, dimension, files: written, backbone } = await resultOf<EmbedJobResult>(embedded.id);
    expect([images, dimension]).toEqual([40, 32]);
    expect(backbone).not.toBe(voted.backbone); // the key encoder
    expect(written).toEqual(["features.npy", "labels.npy", "features.safetensors"]);
    const npy = readFileSync(path(embedded.id, "features.npy"));
    const { tensors } = decodeSafetensors(new Uint8Array(readFileSync(path(embedded.id, "features.safetensors"))), "x");
    const features = tensors.get("features")?.data as Float32Array;
    expect(npy.subarray(0, 80).toString("latin1")).toContain(
      "'descr': '<f4', 'fortran_order': False, 'shape': (40, 32)",
    );
    expect(npy.subarray(npy.length - features.byteLength)).toEqual(Buffer.from(features.slice().buffer));
    expect([...(tensors.get("labels")?.data ?? [])].slice(0, 3)).toEqual([0n, 1n, 2n]);

    const { files: drawn, explained } = await resultOf<MapJobResult>(mapped.id);
    expect(drawn).toEqual(["map.json", "thumbnails.png", "views.png"]);
    expect(explained).toBeGreaterThan(0.1);
    const map = JSON.parse(readFileSync(path(mapped.id, "map.json"), "utf8")) as ImageMap;
    expect([map.images.length, map.pca.length, map.umap.length, new Set(map.images).size]).toEqual([30, 30, 30, 30]);
    // Bars: the test images' classes go round, and most neighbours are of one's own.
    expect(map.labels).toEqual(map.images.map((image) => image % 10));
    const own = map.neighbours.flatMap((near, i) => near.map((j) => map.labels?.[j] === map.labels?.[i]));
    expect(own.filter(Boolean).length / own.length).toBeGreaterThan(0.3);
    const sheet = await sharp(path(mapped.id, "thumbnails.png")).metadata();
    expect([sheet.width, sheet.height]).toEqual([6 * 32, 5 * 32]);
  }, 120_000);

  test("a job says what is doubtful about its spec, and how its training does", async () => {
    const job = await client.submit("pretrain", spec({ epochs: 2, shuffle: false, queueSize: 512 }));
    expect(job.warnings.join()).toContain("shuffle");
    const done = await until(job.id, (j) => j.status === "succeeded");
    // How many images there are is known only to the worker.
    expect(done.warnings.join()).toContain("more keys than there are training images (240)");
    expect(done.progress?.verdict).toMatchObject({ state: "queue warming", message: expect.stringContaining("512") });
    expect((done.result as PretrainResult).verdict).toEqual(done.progress?.verdict as never);
  }, 120_000);

  test("kill -9 of the worker, twice: it resumes by itself and ends in the same bytes", async () => {
    const long = spec({ epochs: 4 });
    const calm = await client.submit("pretrain", long);
    await until(calm.id, (job) => job.status === "succeeded");
    const stormy = await client.submit("pretrain", long);
    for (const step of [10, 35]) {
      await until(stormy.id, (job) => (job.progress?.step ?? 0) >= step);
      await service.stopWorker("SIGKILL");
      service.startWorker();
    }
    const job = await until(stormy.id, (j) => j.status === "succeeded");
    expect(job.progress?.step).toBe(60);
    expect(files(stormy.id)).toEqual(files(calm.id));
  }, 180_000);

  test("a probe that is killed, paused and terminated with its worker resumes: same result, same files", async () => {
    const run = await client.submit("pretrain", spec({ epochs: 1, checkpoint: { everyMinutes: 0.001 } }));
    const probe = { from: run.id, protocol: "paper", epochs: 8, lr: [1, 3], baselines: false };
    const calm = await client.submit("linear-probe", probe);
    const { result, progress } = await until(calm.id, (job) => job.status === "succeeded");
    const steps = progress?.steps as number;
    expect(progress).toMatchObject({ step: steps, epoch: 8, epochs: 8 });

    const stormy = await client.submit("linear-probe", probe);
    const reaches = (share: number) => until(stormy.id, (job) => (job.progress?.step ?? 0) >= share * steps);
    const history = join(service.dataDir, "runs", stormy.id, "history.jsonl");
    const resumes = () => readFileSync(history, "utf8").match(/resuming after \d+ of \d+ images: /g)?.length ?? 0;
    await reaches(0.2);
    // What it has done since its last checkpoint is done again: there has to be one for it to resume from.
    await eventually(async () => (await client.checkpoints(stormy.id)).length > 0);
    await service.stopWorker("SIGKILL");
    service.startWorker();
    // Its progress is that of its earlier life until it has resumed.
    await eventually(async () => resumes() === 1);
    await reaches(0.4);
    await client.act(stormy.id, "pause");
    await until(stormy.id, (job) => job.status === "paused");
    const [newest] = await client.checkpoints(stormy.id);
    expect(newest?.bytes).toBeGreaterThan(0);
    await client.act(stormy.id, "resume");
    await eventually(async () => resumes() === 2);
    const seen = await reaches(0.6);
    expect(seen.progress?.checkpointSeconds).toBeGreaterThan(0);
    expect(await service.stopWorker("SIGTERM")).toBe(0);
    expect((await client.job(stormy.id)).status).toBe("queued");
    service.startWorker({ MOCOD_THREADS: "1" });
    const job = await until(stormy.id, (j) => j.status === "succeeded");
    expect(job.result).toEqual({ ...(result as ProbeJobResult), threads: 1, seconds: expect.any(Number) });
    // A hidden file is job.json while it is written.
    const names = (id: string) =>
      readdirSync(join(service.dataDir, "runs", id))
        .filter((name) => !name.startsWith("."))
        .sort();
    expect([calm.id, stormy.id].map(names)).toEqual(
      Array(2).fill(["history.jsonl", "job.json", "manifest.json", "result.json"]),
    );
    expect(resumes()).toBe(3);
    await service.stopWorker("SIGTERM");
    service.startWorker();
  }, 120_000);

  test("SIGTERM returns the job with a checkpoint, and another worker resumes it", async () => {
    const job = await client.submit("pretrain", spec({ epochs: 30 }));
    await until(job.id, (j) => (j.progress?.step ?? 0) >= 20);
    expect(await service.stopWorker("SIGTERM")).toBe(0);
    const { status, progress } = await client.job(job.id);
    expect(status).toBe("queued");
    expect(readdirSync(join(service.dataDir, "runs", job.id, "checkpoints")).length).toBeGreaterThan(0);
    service.startWorker();
    await until(job.id, (j) => (j.progress?.step ?? 0) > (progress?.step ?? 0));
    await client.cancel(job.id);
    await until(job.id, (j) => j.status === "cancelled");
  }, 120_000);

  test("cancel stops a running job between two steps, leaves a checkpoint, and fails what waits for it", async () => {
    const job = await client.submit("pretrain", spec({ epochs: 1000 }));
    const probe = await client.submit("linear-probe", { from: job.id });
    const running = await until(job.id, (j) => (j.progress?.step ?? 0) >= 20);
    expect(running.status).toBe("running");
    const asked = await client.cancel(job.id);
    expect(["cancelling", "cancelled"]).toContain(asked.status);
    const ended = await until(job.id, (j) => j.status === "cancelled");
    expect(ended.finishedAt).not.toBeNull();
    const names = readdirSync(join(service.dataDir, "runs", job.id, "checkpoints"));
    expect(names.some((name) => name.endsWith(".safetensors"))).toBe(true);
    const left = await eventually(async () => {
      const waiting = await client.job(probe.id);
      return waiting.status === "failed" && waiting;
    });
    expect(left.error).toContain("cancelled");
    expect((await client.cancel(job.id)).status).toBe("cancelled");
  }, 120_000);

  test("a queued job is cancelled at once, and the queue continues", async () => {
    const first = await client.submit("pretrain", spec({ epochs: 1000 }));
    const second = await client.submit("pretrain", spec());
    expect((await client.cancel(second.id)).status).toBe("cancelled");
    await until(first.id, (j) => j.status === "running");
    await client.cancel(first.id);
    await until(first.id, (j) => j.status === "cancelled");
    expect((await client.job(second.id)).startedAt).toBeNull();
  }, 120_000);

  test("images that cannot be read fail the job, naming a file, without a retry", async () => {
    const broken = join(service.folder, "broken");
    mkdirSync(broken);
    const image = await sharp({ create: { width: 20, height: 20, channels: 3, background: "#336699" } })
      .png()
      .toBuffer();
    for (let i = 0; i < 40; i++) writeFileSync(join(broken, `${i}.png`), i % 2 === 0 ? image : "no image");
    const job = await client.submit("pretrain", spec({ dataset: { kind: "folder", path: broken } }));
    const failed = await eventually(async () => {
      const now = await client.job(job.id);
      return now.status === "failed" && now;
    });
    expect(failed.error).toStartWith(`${broken}: 20 of 40 images cannot be read (first: 1.png: `);
    await expect(client.submit("linear-probe", { from: job.id })).rejects.toThrow(/spec\.from: .*status .* is failed/);
  }, 120_000);

  test("what a worker can tell of the images when a job is submitted is refused then, by field", async () => {
    const refused = (dataset: object, more: object = {}) =>
      expect(client.submit("pretrain", spec({ dataset: { kind: "folder", size: 16, ...dataset }, ...more }))).rejects;
    await refused({ path: "/no/such/folder" }).toThrow(
      'spec.dataset.path: got "/no/such/folder", allowed: /no/such/folder: is not there',
    );
    await refused({ path: "images" }).toThrow('spec.dataset.path: got "images", allowed: an absolute path');
    await expect(
      client.submitPipeline({
        jobs: { a: { type: "pretrain", spec: spec({ dataset: { kind: "folder", path: "/no/such" } }) } },
      }),
    ).rejects.toThrow("jobs.a.spec.dataset.path");
    const labelled = join(service.folder, "labelled");
    for (const name of ["a", "b"]) {
      mkdirSync(join(labelled, name), { recursive: true });
      const background = { r: 90, g: 10, b: 20 };
      const image = sharp({ create: { width: 20, height: 20, channels: 3, background } }).png();
      for (let i = 0; i < 30; i++) await image.clone().toFile(join(labelled, name, `${i}.png`));
    }
    await refused({ path: labelled }, { batchSize: 64, splits: 4 }).toThrow(
      "spec.batchSize: got 64, allowed: at most ",
    );
    await refused({ path: labelled, bands: [2, 1] }, { augmentation: { size: 16, jitter: { hue: 0.1 } } }).toThrow(
      "spec.augmentation.jitter.hue: got 0.1, allowed: 0: images of 2 channels are no RGB (dataset.bands chooses three)",
    );
    const broken = join(service.folder, "no_images");
    mkdirSync(broken);
    for (let i = 0; i < 40; i++) writeFileSync(join(broken, `${i}.png`), "no image");
    await refused({ path: broken }).toThrow(/spec\.dataset\.path: .* has no image that can be read \(first: 0\.png: /);
    // Of a run that is not over its spec says what there will be.
    const dataset = { kind: "folder", path: labelled, size: 16, holdout: 0 };
    const long = await client.submit("pretrain", spec({ dataset, batchSize: 16, epochs: 5000 }));
    await expect(client.submit("knn", { from: long.id })).rejects.toThrow(
      /spec\.from: got null, allowed: images with a test part: the dataset of this run has none\. Give spec\.dataset/,
    );
    const probe = { from: long.id, dataset: { kind: "folder", path: labelled, size: 16 } };
    await expect(client.submit("linear-probe", { ...probe, checkpoint: { epoch: 5009 } })).rejects.toThrow(
      "spec.checkpoint.epoch: got 5009, allowed: at most 5000, the epochs of the pretrain job; its last checkpoints are those of epochs 4999, 5000",
    );
    await expect(client.submit("knn", { ...probe, blocks: 4 })).rejects.toThrow(
      /spec\.blocks: got 4, allowed: 1: resnet\d+ is no ViT/,
    );
    await client.cancel(long.id);
  }, 120_000);

  test("a probe of images without classes is refused, and says what is missing", async () => {
    const plain = join(service.folder, "plain");
    mkdirSync(plain);
    for (let i = 0; i < 40; i++) {
      const background = { r: 6 * i, g: 255 - 6 * i, b: 90 };
      await sharp({ create: { width: 20, height: 20, channels: 3, background } })
        .png()
        .toFile(join(plain, `${i}.png`));
    }
    const dataset = { kind: "folder", path: plain, test: plain, size: 16 };
    const job = await client.submit("pretrain", spec({ dataset, epochs: 1, augmentation: { size: 16 } }));
    const done = await until(job.id, (j) => j.status === "succeeded");
    expect(done.result).toMatchObject({ knn: null });
    await expect(client.submit("linear-probe", { from: job.id })).rejects.toThrow(
      "spec.from: got 0, allowed: images of two classes or more (a folder each); the dataset of this run has 0",
    );
  }, 120_000);
});

describe("the API", () => {
  const post = (body: unknown, headers = { "content-type": "application/json" }) =>
    fetch(`${service.url}/v1/jobs`, { method: "POST", headers, body: JSON.stringify(body) });

  test("422 names every bad field, what was got and what is allowed", async () => {
    const response = await post({ type: "pretrain", spec: spec({ epochs: 0, dim: "big", shape: 1 }) });
    expect(response.status).toBe(422);
    expect(response.headers.get("content-type")).toBe("application/problem+json");
    expect(await response.json()).toMatchObject({
      status: 422,
      errors: expect.arrayContaining([
        { field: "spec.epochs", got: 0, allowed: "at least 1" },
        { field: "spec.dim", got: "big", allowed: "number" },
        { field: "spec.shape", got: 1, allowed: "no such field" },
      ]),
    });
    expect((await post({ type: "paint", spec: {} })).status).toBe(422);
    expect((await post({ type: "pretrain" })).status).toBe(422);
    expect((await post({ type: "linear-probe", spec: { from: "run_unknown" } })).status).toBe(422);
  });

  test("unknown jobs and paths are 404, over and done is 409, all as problem+json", async () => {
    for (const path of ["/v1/jobs/run_x", "/v1/jobs/run_x/events", "/v2"]) {
      const response = await fetch(service.url + path);
      expect([response.status, response.headers.get("content-type")]).toEqual([404, "application/problem+json"]);
    }
    const { jobs } = (await (await fetch(`${service.url}/v1/jobs`)).json()) as { jobs: Job[] };
    const done = jobs.find((job) => job.status === "succeeded") as Job;
    expect((await fetch(`${service.url}/v1/jobs/${done.id}/cancel`, { method: "POST" })).status).toBe(409);
  });

  test("events continue after Last-Event-ID, and end with the job", async () => {
    const { jobs } = (await (await fetch(`${service.url}/v1/jobs`)).json()) as { jobs: Job[] };
    const done = jobs.find((job) => job.status === "succeeded") as Job;
    const read = async (last?: string) =>
      (
        await fetch(`${service.url}/v1/jobs/${done.id}/events`, last ? { headers: { "last-event-id": last } } : {})
      ).text();
    const all = (await read()).split("\n\n").filter((block) => block.includes("id:"));
    expect(all.at(-1)).toContain('{"status":"succeeded"}');
    const id = all[1]?.match(/^id: ?(.*)$/m)?.[1];
    const rest = (await read(id)).split("\n\n").filter((block) => block.includes("id:"));
    expect(rest).toEqual(all.slice(2));
  });
});

describe("a GPU that fails", () => {
  test("is tried once more from the checkpoint, and then WASM takes over: each loss is named, no step is done twice", async () => {
    useSwiftShader();
    await service.stopWorker("SIGTERM");
    service.startWorker({
      MOCOD_DEVICE: "webgpu",
      MOCOD_TEST_SUBMITS: "30,2",
      MOCOD_TEST_LOST: join(service.folder, "lost"),
      BUN_OPTIONS: `--preload=${join(import.meta.dir, "../support/lose_device.ts")}`,
    });
    const dataset = { ...spec().dataset, images: 52 };
    const short = { augmentation: { size: 16 }, epochs: 6, logEvery: 1, monitor: { everyEpochs: 0 } };
    const run = await client.submit("pretrain", spec({ dataset, ...short }));
    const job = await until(run.id, (j) => j.status === "succeeded", 110);
    expect(job.result).toMatchObject({ steps: 18, device: "wasm" });
    const lines = (files(run.id).at(-1) as string).trim().split("\n");
    expect(lines.map((line) => JSON.parse(line).epoch)).toEqual([1, 2, 3, 4, 5, 6]);
    const events = await (await fetch(`${service.url}/v1/jobs/${run.id}/events`)).text();
    const logs = [...events.matchAll(/data: "(.*DeviceLostError.*)"/g)].map(([, text]) => text as string);
    // The first was lost in the middle of the run.
    expect(events.slice(0, events.indexOf("DeviceLostError"))).toContain('"step":3');
    expect(logs).toEqual([
      expect.stringContaining("retrying from the last checkpoint"),
      expect.stringContaining("resuming from the last checkpoint on WASM"),
    ]);
    await service.stopWorker("SIGTERM");
    service.startWorker();
  }, 120_000);
});
