/** The life of a job, with real processes: actions, outcomes, and the files that they leave. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import type { Client } from "../../cli/client.ts";
import { Jobs } from "../../src/queue/jobs.ts";
import { Archive } from "../../src/queue/records/archive.ts";
import { connect } from "../../src/queue/redis.ts";
import type { Job } from "../../src/schema/job.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { eventually, processes, writeFashionLike } from "../support/helpers.ts";
import { type Service, startService } from "../support/service.ts";

let service: Service;
let client: Client;
let until: Service["until"];
let spec: Service["spec"];
let files: Service["files"];

beforeAll(async () => {
  service = await startService({ MOCOD_REDIS_JOBS: "3", MOCOD_STALL_MINUTES: "0.1" });
  ({ client, until, spec, files } = service);
});
afterAll(() => service.stop());

const statusOf = async (id: string) => (await client.job(id)).status;
const ended = (id: string) =>
  eventually(async () => {
    const job = await client.job(id);
    return job.finishedAt !== null && job;
  });
const stepOf = (job: Job) => job.progress?.step ?? 0;
/** Long enough that there is time to interfere. */
const long = () => spec({ epochs: 6 });
let uninterrupted: Job | undefined;
/** An uninterrupted run of `long`, and its files. */
async function undisturbed() {
  uninterrupted ??= await client.submit("pretrain", long());
  const { id } = uninterrupted;
  uninterrupted = await until(id, (job) => job.status === "succeeded");
  return { job: uninterrupted, files: files(id) };
}
const eventsOf = async (id: string): Promise<string> => {
  const response = await fetch(`${service.url}/v1/jobs/${id}/events`);
  return response.text();
};
/** Occupies the worker, so that other jobs stay queued. */
async function occupied(): Promise<Job> {
  const job = await client.submit("pretrain", spec({ epochs: 1000 }), "long", 1000);
  return until(job.id, (j) => j.status === "running");
}

describe("pause and resume", () => {
  test("a paused job resumes, and its files are byte-identical to those of an uninterrupted run", async () => {
    const job = await client.submit("pretrain", long());
    await until(job.id, (j) => stepOf(j) >= 20);
    expect(["pausing", "paused"]).toContain((await client.act(job.id, "pause")).status);
    expect(["pausing", "paused"]).toContain((await client.act(job.id, "pause")).status);
    const paused = await until(job.id, (j) => j.status === "paused");
    const [newest] = await client.checkpoints(job.id);
    expect(newest?.step).toBeGreaterThanOrEqual(20);
    expect(paused.finishedAt).toBeNull();
    // The worker is free in the meantime.
    const other = await client.submit("pretrain", spec({ epochs: 1 }));
    await until(other.id, (j) => j.status === "succeeded");
    expect(await statusOf(job.id)).toBe("paused");
    expect(["queued", "running"]).toContain((await client.act(job.id, "resume")).status);
    expect(["queued", "running"]).toContain((await client.act(job.id, "resume")).status);
    await until(job.id, (j) => j.status === "succeeded");
    expect(files(job.id)).toEqual((await undisturbed()).files);
  }, 120_000);

  test("jobs that wait are paused at once; they come back to their place, and a higher priority goes first", async () => {
    const blocker = await occupied();
    const [first, second] = [
      await client.submit("pretrain", spec({ epochs: 1 }), "first"),
      await client.submit("pretrain", spec({ epochs: 1 }), "second"),
    ];
    const urgent = await client.submit("pretrain", spec({ epochs: 1 }), "urgent", 5);
    const probe = await client.submit("linear-probe", { from: second.id, epochs: 1 });
    expect(urgent).toMatchObject({ priority: 5, status: "queued" });
    expect((await client.act(first.id, "pause")).status).toBe("paused");
    expect((await client.act(probe.id, "pause")).status).toBe("paused");
    expect((await client.act(first.id, "resume")).status).toBe("queued");
    expect(await client.act(probe.id, "resume")).toMatchObject({ status: "waiting", waitingFor: `job ${second.id}` });
    await client.cancel(blocker.id);
    const jobs = await Promise.all([first, second, urgent, probe].map(({ id }) => until(id, (j) => j.finishedAt)));
    const order = [...jobs].sort((a, b) => Date.parse(a.startedAt as string) - Date.parse(b.startedAt as string));
    expect(order.map(({ id }) => id)).toEqual([urgent.id, first.id, second.id, probe.id]);
  }, 120_000);

  test("what does not fit the status is 409 and says the status; unknown jobs are 404", async () => {
    const done = await client.submit("pretrain", spec({ epochs: 1 }));
    await until(done.id, (j) => j.status === "succeeded");
    for (const name of ["pause", "resume", "cancel", "retry"]) {
      const response = await fetch(`${service.url}/v1/jobs/${done.id}/${name}`, { method: "POST" });
      expect(response.status).toBe(409);
      expect(await response.json()).toMatchObject({
        title: expect.stringContaining(`the job is succeeded; ${name} is for jobs that are`),
        jobStatus: "succeeded",
      });
      expect((await fetch(`${service.url}/v1/jobs/run_x/${name}`, { method: "POST" })).status).toBe(404);
    }
    const blocker = await occupied();
    const queued = await client.submit("pretrain", spec());
    expect((await client.act(queued.id, "retry")).status).toBe("queued");
    await client.cancel(queued.id);
    await expect(client.act(queued.id, "resume")).rejects.toThrow("the job is cancelled");
    await client.cancel(blocker.id);
    await ended(blocker.id);
  }, 120_000);
});

describe("retry", () => {
  test("a cancelled job resumes from its checkpoint and ends in the same bytes", async () => {
    const job = await client.submit("pretrain", long());
    await until(job.id, (j) => stepOf(j) >= 20);
    await client.cancel(job.id);
    await until(job.id, (j) => j.status === "cancelled");
    expect(["queued", "running"]).toContain((await client.act(job.id, "retry")).status);
    await until(job.id, (j) => j.status === "succeeded");
    expect(files(job.id)).toEqual((await undisturbed()).files);
    expect((await eventsOf(job.id)).match(/"status":"cancelled"/g)).toHaveLength(1);
  }, 120_000);

  test("a failed job whose images are there now succeeds", async () => {
    const path = join(service.folder, "late");
    mkdirSync(path); // a folder that is not there would not be accepted
    const job = await client.submit("pretrain", spec({ dataset: { kind: "fashion-mnist", path }, epochs: 1 }));
    expect((await ended(job.id)).status).toBe("failed");
    writeFashionLike(path, 260, 40);
    await client.act(job.id, "retry");
    const done = await until(job.id, (j) => j.status === "succeeded");
    expect(done.error).toBeNull();
  }, 120_000);
});

describe("a loss that is not finite", () => {
  test("ends the run at that step without a second try, keeps the last checkpoint, and says what to do; a fork does it", async () => {
    const hot = { ...spec(), epochs: 20, optimizer: { lr: 100, momentum: 0.99, weightDecay: 1, schedule: "constant" } };
    const job = await client.submit("pretrain", hot);
    const failed = await ended(job.id);
    expect(failed.status).toBe("failed");
    expect(failed.error).toMatch(
      /^the loss is (NaN|Infinity) at step \d+ of 300; (fork|submit).*spec\.optimizer\.lr \(100/,
    );
    expect((await eventsOf(job.id)).match(/"status":"running"/g)).toHaveLength(1);

    // A good run, forked from the checkpoint in the middle with another rate.
    const good = await client.submit("pretrain", spec({ epochs: 3, checkpoint: { keepEvery: 1 } }));
    await until(good.id, (j) => j.status === "succeeded");
    expect((await client.checkpoints(good.id)).map(({ step }) => step)).toEqual([45, 30, 15]);
    const fork = await client.fork(good.id, { step: 15, spec: { optimizer: { lr: 0.01 } }, name: "gentle" });
    expect(fork).toMatchObject({ name: "gentle", forked: { from: { id: good.id, step: 15 }, keep: "state" } });
    const forked = await until(fork.id, (j) => j.status === "succeeded");
    expect(forked.result).toMatchObject({ steps: 45 });
    const lines = (files(fork.id).at(-1) as string).trim().split("\n");
    expect(lines.map((line) => JSON.parse(line).epoch)).toEqual([2, 3]);
    const weights = await client.fork(good.id, { keep: "weights", spec: { epochs: 1, batchSize: 20 } });
    expect(await until(weights.id, (j) => j.status === "succeeded")).toMatchObject({ result: { steps: 12 } });
    // A fork that changes nothing is the run itself.
    const same = await client.fork(good.id, { step: 15 });
    await until(same.id, (j) => j.status === "succeeded");
    expect(files(same.id).filter(([name]) => String(name).startsWith("step-000000045"))).toEqual(
      files(good.id).filter(([name]) => String(name).startsWith("step-000000045")),
    );
  }, 120_000);

  test("a fork names the fields that may not change, and the steps that there are", async () => {
    const { jobs } = (await (await fetch(`${service.url}/v1/jobs?limit=1000`)).json()) as { jobs: Job[] };
    const good = jobs.find((job) => job.name === "gentle") as Job;
    await expect(client.fork(good.id, { spec: { dim: 8, batchSize: 8 } })).rejects.toThrow(
      /spec\.dim: got 8, allowed: 16, as in the run[\s\S]*spec\.batchSize: got 8, allowed: 16/,
    );
    await expect(client.fork(good.id, { keep: "weights", spec: { encoder: { width: 8 } } })).rejects.toThrow(
      "spec.encoder",
    );
    await expect(client.fork(good.id, { step: 7 })).rejects.toThrow(
      /step: got 7, allowed: a checkpoint of run_.*: 45, 30/,
    );
  }, 60_000);
});

test("extend: with a rate that does not depend on the end, 2 epochs and 3 more are the bytes of 5", async () => {
  // A best one of the first two epochs would stay, with the spec of two epochs in its header.
  const checkpoint = { keepBest: false };
  const constant = (epochs: number) => spec({ epochs, checkpoint, optimizer: { schedule: "constant" } });
  const whole = await client.submit("pretrain", constant(5));
  const job = await client.submit("pretrain", constant(2));
  await until(job.id, (j) => j.status === "succeeded");
  await expect(client.extend(job.id, 1)).rejects.toThrow("epochs: got 1, allowed: more than 2");
  expect((await client.extend(job.id, 5)).spec).toMatchObject({ epochs: 5 });
  await client.extend(job.id, 5);
  const done = await until(job.id, (j) => j.status === "succeeded");
  expect(done.progress).toMatchObject({ epoch: 5, step: 75 });
  expect(files(job.id)).toEqual(files(whole.id));
  expect((await eventsOf(job.id)).match(/"status":"succeeded"/g)).toHaveLength(2);
}, 120_000);

describe("workers", () => {
  test("are listed with what they can and what they do; a job that needs a GPU waits for one and says so", async () => {
    const blocker = await occupied();
    const busy = await eventually(async () => {
      const [worker] = await client.workers();
      return worker?.job === blocker.id && worker;
    });
    expect(busy).toMatchObject({
      pid: service.worker().pid,
      webgpu: false,
      threads: 2,
      version: expect.stringMatching(/^\d/),
      device: expect.stringContaining("WASM"),
    });
    expect(busy.memory).toBeGreaterThan(2 ** 30);
    await client.cancel(blocker.id);
    const needs = await client.submit("pretrain", spec({ device: "webgpu" }));
    expect((await client.job(needs.id)).waitingFor).toBe("a worker with WebGPU: none of the 1 running has a GPU");
    // Others are not held up by it.
    const other = await client.submit("pretrain", spec({ epochs: 1 }));
    await until(other.id, (j) => j.status === "succeeded");
    expect(await statusOf(needs.id)).toBe("queued");
    await client.cancel(needs.id);
    await service.stopWorker("SIGTERM");
    expect(await client.workers()).toEqual([]);
    const alone = await client.submit("pretrain", spec({ epochs: 1 }));
    expect((await client.job(alone.id)).waitingFor).toBe("a worker: none is running");
    service.startWorker();
    await until(alone.id, (j) => j.status === "succeeded");
  }, 120_000);

  test("a child that makes no step is killed, and its job resumes from the checkpoint", async () => {
    const job = await client.submit("pretrain", long());
    await until(job.id, (j) => stepOf(j) >= 20);
    const [child] = service.children();
    process.kill(child as number, "SIGSTOP");
    await eventually(async () => (await client.job(job.id)).waitingFor?.startsWith("the next attempt, at "));
    expect(service.children()).not.toContain(child as number);
    await until(job.id, (j) => j.status === "succeeded");
    expect(await eventsOf(job.id)).toContain("no step for 0.1 minutes: killed");
    expect(files(job.id)).toEqual((await undisturbed()).files);
  }, 120_000);

  test("a child never outlives its worker, not even a suspended child", async () => {
    const job = await client.submit("pretrain", spec({ epochs: 1000 }));
    await until(job.id, (j) => stepOf(j) >= 5);
    const children = service.children();
    expect(children.length).toBe(1);
    process.kill(children[0] as number, "SIGSTOP");
    await service.stopWorker("SIGKILL");
    await eventually(async () => !processes().some(({ pid, state }) => pid === children[0] && state !== "Z"));
    service.startWorker();
    await until(job.id, (j) => j.status === "running");
    await client.cancel(job.id);
    await ended(job.id);
  }, 120_000);
});

test("finished jobs beyond the newest few leave Redis, and are found in the store: record, list, events, probe", async () => {
  const redis = connect(service.redisUrl);
  const ids: string[] = [];
  for (let i = 0; i < 5; i++) {
    const job = await client.submit("pretrain", spec({ epochs: 1 }), `of many ${i}`);
    await until(job.id, (j) => j.status === "succeeded");
    ids.push(job.id);
  }
  const oldest = ids[0] as string;
  await eventually(async () => (await redis.exists(`mocod:run:${oldest}`)) === 0);
  expect(await redis.exists(`mocod:run:${oldest}:events`, `mocod:run:${oldest}:history`)).toBe(0);
  // The last job is seen to have succeeded before the oldest record goes for it.
  await eventually(async () => (await redis.zcard("mocod:finished")) <= 3);
  expect(await redis.zcard("mocod:finished")).toBe(3);
  const known = { name: "of many 0", status: "succeeded", result: { steps: 15 }, progress: { step: 15, epoch: 1 } };
  expect(await client.job(oldest)).toMatchObject(known);
  const { jobs } = (await (await fetch(`${service.url}/v1/jobs?limit=5`)).json()) as { jobs: Job[] };
  expect(jobs.map(({ id }) => id)).toEqual([...ids].reverse());
  const events = await eventsOf(oldest);
  expect(events).toContain('{"status":"queued"}');
  expect(events).toContain('{"status":"succeeded"}');
  const probe = await client.submit("linear-probe", { from: oldest, epochs: 1 });
  await until(probe.id, (j) => j.status === "succeeded");
  // It can still be asked for something.
  await client.extend(oldest, 2);
  expect((await until(oldest, (j) => j.status === "succeeded")).progress?.step).toBe(30);
  redis.disconnect();
}, 120_000);

test("a concurrent trim evicts no record that is being changed, whether it was brought back or had stayed", async () => {
  const redis = connect(service.redisUrl);
  const blobs = new LocalBlobs(service.dataDir);
  const jobs = new Jobs(redis, blobs, () => undefined, 0);
  const archive = new Archive(redis, blobs, 0);
  const blocker = await occupied();
  const { id } = await client.submit("pretrain", spec());
  await client.cancel(id);
  // Another job ends just before the record is read.
  const { records } = jobs;
  const { read } = records;
  records.read = async (of) => {
    await archive.trim();
    return read.call(records, of);
  };
  expect(await jobs.life.act(id, "retry")).toMatchObject({ id, status: "queued" }); // was there still
  await jobs.life.act(id, "cancel");
  await archive.trim();
  expect(await redis.exists(`mocod:run:${id}`)).toBe(0);
  expect(await jobs.life.act(id, "retry")).toMatchObject({ id, status: "queued" });
  await jobs.life.act(id, "cancel");
  expect(await jobs.life.act("run_0", "retry")).toBeUndefined();
  expect(await redis.smismember("mocod:dirty", id, "run_0")).toEqual([0, 0]);
  await client.cancel(blocker.id);
  await ended(blocker.id);
  await jobs.close();
  redis.disconnect();
}, 60_000);

test("a job of a newer version is left to newer workers, in Redis and in the store", async () => {
  const redis = connect(service.redisUrl);
  const blobs = new LocalBlobs(service.dataDir);
  const jobs = new Jobs(redis, blobs, () => undefined);
  const blocker = await occupied();
  const job = await client.submit("pretrain", spec({ epochs: 1 }));
  await redis.hset(`mocod:run:${job.id}`, "format", 99);
  await client.cancel(blocker.id);
  await eventually(async () => (await redis.zcard("bull:mocod:delayed")) === 1);
  expect(await statusOf(job.id)).toBe("queued");
  const file = join(service.dataDir, "runs", job.id, "job.json");
  const stored = JSON.parse(readFileSync(file, "utf8"));
  await jobs.records.run(job.id).writeJson("job.json", { ...stored, format: 99 });
  await expect(new Archive(redis, blobs, 500).load(job.id)).rejects.toThrow("format 99 is of a newer mocod");
  await redis.hset(`mocod:run:${job.id}`, "format", 1);
  await client.cancel(job.id);
  await jobs.close();
  redis.disconnect();
}, 120_000);

test("Redis wiped under running and waiting jobs: they are restored without help, and end with the same files", async () => {
  const redis = connect(service.redisUrl);
  const left = await undisturbed();
  const job = await client.submit("pretrain", long(), "wiped", 3);
  const probe = await client.submit("linear-probe", { from: job.id, epochs: 1 });
  const paused = await client.submit("pretrain", spec());
  await until(job.id, (j) => stepOf(j) >= 20);
  await client.act(paused.id, "pause");
  await redis.flushall();
  await eventually(async () => (await redis.exists("mocod:store")) === 1);
  expect(await statusOf(paused.id)).toBe("paused");
  expect(await client.job(left.job.id)).toMatchObject({ status: "succeeded", result: left.job.result });
  const done = await until(job.id, (j) => j.status === "succeeded");
  expect(done).toMatchObject({ name: "wiped", priority: 3 });
  expect(files(job.id)).toEqual(left.files);
  await until(probe.id, (j) => j.status === "succeeded");
  await client.cancel(paused.id);
  redis.disconnect();
}, 120_000);

test("mocod store check and rebuild, by hand", async () => {
  const run = (...args: string[]) =>
    Bun.spawnSync([process.execPath, join(import.meta.dir, "../../cli/main.ts"), "store", ...args], {
      env: { ...process.env, MOCOD_DATA_DIR: service.dataDir, REDIS_URL: service.redisUrl },
    });
  const fine = run("check");
  expect(fine.stdout.toString()).toMatch(/file:\/\/.*: \d+ runs, \d+ files, 0 damaged/);
  expect(fine.exitCode).toBe(0);
  const { jobs } = (await (await fetch(`${service.url}/v1/jobs?limit=1`)).json()) as { jobs: Job[] };
  const [{ id }] = jobs as [Job];
  const folder = join(service.dataDir, "runs", id);
  renameSync(join(folder, "history.jsonl"), join(folder, "job.json"));
  expect(run("check").exitCode).toBe(1);
  expect(run("rebuild").stdout.toString()).toMatch(/^\d+ jobs of file:\/\/.* are in Redis again/);
}, 60_000);
