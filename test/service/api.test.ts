/** The API over jobs: lists, idempotency, deletion; and the outputs of jobs in several formats. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { depthOf } from "../../api/guard.ts";
import { startApi } from "../../api/server.ts";
import { Client } from "../../cli/client.ts";
import { Jobs } from "../../src/queue/jobs.ts";
import { Archive } from "../../src/queue/records/archive.ts";
import { connect } from "../../src/queue/redis.ts";
import type { Job } from "../../src/schema/job.ts";
import { ApiKeys } from "../../src/store/api_keys.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { downsample, latest, toCsv } from "../../src/store/series.ts";
import { readEnv } from "../../src/util/env.ts";
import { createLogger } from "../../src/util/logger.ts";
import { eventually, temporaryFolder } from "../support/helpers.ts";
import { type Service, startService } from "../support/service.ts";

let service: Service;
let client: Client;
let url: string;
/** A finished run of three epochs. */
let run: Job;

beforeAll(async () => {
  service = await startService({ MOCOD_REDIS_JOBS: "4" });
  ({ client, url } = service);
  const { id } = await client.submit("pretrain", service.spec({ epochs: 3 }), "the run");
  run = await service.until(id, (job) => job.status === "succeeded");
  await service.stopWorker("SIGTERM");
}, 60_000);
afterAll(() => service.stop());

const get = async (path: string) => (await fetch(url + path)).json() as Promise<Record<string, never>>;
const post = (body: object, headers: Record<string, string> = {}) =>
  fetch(`${url}/v1/jobs`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
const idsOf = ({ jobs }: { jobs: Job[] }) => jobs.map(({ id }) => id);

describe("lists", () => {
  const ids: string[] = [];
  beforeAll(async () => {
    for (let i = 0; i < 12; i++) {
      const metadata = { parity: i % 2 ? "odd" : "even", number: String(i) };
      const response = await post({ type: "pretrain", name: `Sweep ${i}`, metadata, spec: service.spec() });
      ids.push(((await response.json()) as Job).id);
    }
    // Seven have finished, so some records are evicted from Redis.
    for (const id of ids.slice(0, 7)) await client.cancel(id);
  });

  test("page by page, either way, each job once, though jobs are added and changed concurrently", async () => {
    for (const order of ["asc", "desc"]) {
      const seen: string[] = [];
      let after = "";
      for (;;) {
        const page = (await get(`/v1/jobs?limit=5&name=sweep&order=${order}${after}`)) as unknown as {
          jobs: Job[];
          next: string | null;
        };
        seen.push(...idsOf(page));
        expect(page.jobs.length).toBeLessThanOrEqual(5);
        if (page.next === null) break;
        after = `&after=${page.next}`;
        await post({ type: "pretrain", name: "Late", spec: service.spec() });
      }
      expect(seen).toEqual(order === "asc" ? ids : [...ids].reverse());
    }
  });

  test("by type, status, name and metadata, records that left Redis included", async () => {
    const list = async (query: string) =>
      idsOf((await get(`/v1/jobs?limit=1000&${query}`)) as unknown as { jobs: Job[] });
    expect(await list("status=cancelled")).toEqual(ids.slice(0, 7).reverse());
    expect(await list("status=succeeded")).toEqual([run.id]);
    expect(await list("type=knn")).toEqual([]);
    expect(await list("name=SWEEP%2011")).toEqual([ids[11] as string]);
    const even = ids.filter((_, i) => i % 2 === 0).reverse();
    expect(await list("metadata[parity]=even")).toEqual(even);
    expect(await list("metadata[parity]=even&metadata[number]=4&status=cancelled")).toEqual([ids[4] as string]);
    expect(await list("metadata[parity]=even&metadata[number]=5")).toEqual([]);
  });

  test("a bad cursor, parameter or value is named", async () => {
    for (const [query, said] of [
      ["after=nonsense", "after: got"],
      [
        "colour=red",
        "no such parameter; there are limit, after, order, type, status, name, from, pipeline, metadata[key]",
      ],
      ["colour=red", "the request is not valid"],
      ["toString=x", "no such parameter"],
      ["status=lost", "status"],
      ["limit=0", "limit"],
    ]) {
      const response = await fetch(`${url}/v1/jobs?${query}`);
      expect(response.status).toBe(422);
      expect(JSON.stringify(await response.json())).toContain(said as string);
    }
  });
});

describe("Idempotency-Key", () => {
  test("the same key and body is the same job, also at the same time; another body is 422", async () => {
    const body = { type: "pretrain", spec: service.spec(), name: "once" };
    const key = { "idempotency-key": "order-1" };
    const answers = await Promise.all(Array.from({ length: 8 }, () => post(body, key)));
    const jobs = (await Promise.all(answers.map((answer) => answer.json()))) as Job[];
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
    expect(new Set(jobs.map(({ id }) => id)).size).toBe(1);
    expect(((await get("/v1/jobs?name=once")) as unknown as { jobs: Job[] }).jobs).toHaveLength(1);
    const other = await post({ ...body, name: "twice" }, key);
    expect(other.status).toBe(422);
    expect(await other.json()).toMatchObject({ title: expect.stringContaining('Idempotency-Key: "order-1" was used') });
    expect((await (await post(body, { "idempotency-key": "order-2" })).json()) as Job).not.toMatchObject({
      id: jobs[0]?.id,
    });
  });
});

describe("delete", () => {
  test("a finished job is deleted from Redis and from the store; an unfinished or needed one is 409", async () => {
    const remove = (id: string) => fetch(`${url}/v1/jobs/${id}`, { method: "DELETE" });
    const job = await client.submit("pretrain", service.spec());
    expect((await remove(job.id)).status).toBe(409);
    const probe = await client.submit("linear-probe", { from: run.id });
    const refused = await remove(run.id);
    expect(refused.status).toBe(409);
    expect(await refused.json()).toMatchObject({ title: `job ${probe.id} works on this one and is queued` });
    await client.cancel(job.id);
    const folder = join(service.dataDir, "runs", job.id);
    expect(existsSync(join(folder, "job.json"))).toBe(true);
    expect((await remove(job.id)).status).toBe(204);
    expect(existsSync(join(folder, "job.json"))).toBe(false);
    expect((await remove(job.id)).status).toBe(404);
    expect((await fetch(`${url}/v1/jobs/${job.id}`)).status).toBe(404);
    await client.cancel(probe.id);
  });
});

test("a job that is deleted during a save stays deleted", async () => {
  const redis = connect(service.redisUrl);
  const archive = new Archive(redis, new LocalBlobs(service.dataDir), 500);
  const { id } = await client.submit("pretrain", service.spec());
  await client.cancel(id);
  const { write } = archive;
  archive.write = async (...what) => {
    await client.remove(id);
    return write.apply(archive, what);
  };
  await archive.save(id);
  expect(existsSync(join(service.dataDir, "runs", id, "job.json"))).toBe(false);
  expect((await fetch(`${url}/v1/jobs/${id}`)).status).toBe(404);
  redis.disconnect();
});

test("an event with an empty list is one in the history too, and no line of the log", async () => {
  const redis = connect(service.redisUrl);
  const jobs = new Jobs(redis, new LocalBlobs(service.dataDir), () => undefined);
  const { id } = await client.submit("pretrain", service.spec());
  for (const data of [[], ["a", "b"]]) await jobs.life.change(id, { event: { type: "warnings", data } });
  expect((await jobs.records.history(id)).slice(-2).map(({ data }) => data)).toEqual([[], ["a", "b"]]);
  const { lines } = (await get(`/v1/jobs/${id}/logs`)) as unknown as { lines: { message: string }[] };
  expect(lines.map(({ message }) => message)).toEqual(["queued", "a; b"]);
  await client.cancel(id);
  await jobs.close();
  redis.disconnect();
});

describe("what a job leaves", () => {
  test("metrics as JSON and CSV, steps as many as wanted, logs with times", async () => {
    const { lines } = (await get(`/v1/jobs/${run.id}/metrics`)) as unknown as { lines: Record<string, unknown>[] };
    expect(lines.map(({ epoch }) => epoch)).toEqual([0, 1, 2, 3]);
    const two = (await get(`/v1/jobs/${run.id}/metrics?points=2`)) as unknown as { lines: object[] };
    expect(two.lines).toMatchObject([{ epoch: 1 }, { epoch: 3 }]);
    const response = await fetch(`${url}/v1/jobs/${run.id}/metrics?format=csv`);
    expect(response.headers.get("content-type")).toContain("text/csv");
    const [head = "", ...rows] = (await response.text()).trim().split("\r\n");
    expect(head).toContain("epoch,step,knn,spread.uniformity");
    expect(head).toContain("gradient.conv1");
    expect(rows).toHaveLength(4);
    const steps = (await get(`/v1/jobs/${run.id}/steps`)) as unknown as { lines: { step: number; loss: number }[] };
    expect(steps.lines.map(({ step }) => step)).toEqual(Array.from({ length: 45 }, (_, i) => i + 1));
    const few = (await get(`/v1/jobs/${run.id}/steps?points=10`)) as unknown as {
      lines: { step: number; loss: number }[];
    };
    expect(few.lines.map(({ step }) => step)).toEqual([5, 10, 15, 20, 25, 30, 35, 40, 45]);
    const mean = steps.lines.slice(0, 5).reduce((sum, { loss }) => sum + loss, 0) / 5;
    expect(few.lines[0]?.loss).toBeCloseTo(mean, 12);
    const logs = (await get(`/v1/jobs/${run.id}/logs`)) as unknown as {
      lines: { event: string; message: string; at: string }[];
    };
    const statuses = logs.lines.filter(({ event }) => event === "status").map(({ message }) => message);
    expect(statuses).toEqual(["queued", "running", "succeeded"]);
    expect(logs.lines.every(({ at }) => !Number.isNaN(Date.parse(at)))).toBe(true);
    for (const path of ["metrics", "steps", "logs", "files", "checkpoints", "files/job.json"]) {
      expect((await fetch(`${url}/v1/jobs/run_x/${path}`)).status).toBe(404);
    }
  });

  test("checkpoints are downloaded whole, in ranges, or not again", async () => {
    const [{ file, sha256, bytes: size } = { file: "", sha256: "", bytes: 0 }] = await client.checkpoints(run.id);
    const expected = readFileSync(join(service.dataDir, "runs", run.id, "checkpoints", file));
    const path = `${url}/v1/jobs/${run.id}/files/checkpoints/${file}`;
    const whole = await fetch(path);
    expect(whole.headers.get("etag")).toBe(`"${sha256}"`);
    expect(Buffer.from(await whole.arrayBuffer())).toEqual(expected);
    const part = async (range: string, more: Record<string, string> = {}) => {
      const response = await fetch(path, { headers: { range, ...more } });
      return [
        response.status,
        response.headers.get("content-range"),
        Buffer.from(await response.arrayBuffer()),
      ] as const;
    };
    expect(await part("bytes=10-19")).toEqual([206, `bytes 10-19/${size}`, expected.subarray(10, 20)]);
    expect(await part(`bytes=${size - 5}-`)).toEqual([
      206,
      `bytes ${size - 5}-${size - 1}/${size}`,
      expected.subarray(-5),
    ]);
    expect(await part("bytes=-7")).toEqual([206, `bytes ${size - 7}-${size - 1}/${size}`, expected.subarray(-7)]);
    expect((await part(`bytes=${size}-`))[0]).toBe(416);
    expect((await part("bytes=0-9", { "if-range": `"${sha256}"` }))[0]).toBe(206);
    expect((await part("bytes=0-9", { "if-range": '"another"' }))[0]).toBe(200);
    expect((await fetch(path, { headers: { "if-none-match": `"${sha256}"` } })).status).toBe(304);
  });

  test("files are those of the run, and nothing above it", async () => {
    const { files } = (await get(`/v1/jobs/${run.id}/files`)) as unknown as { files: string[] };
    expect(files).toContain("metrics.jsonl");
    for (const name of [
      "../../../redis/running.json",
      "..%2f..%2fredis%2frunning.json",
      "no.such",
      "checkpoints/",
      ".",
    ]) {
      expect((await fetch(`${url}/v1/jobs/${run.id}/files/${name}`)).status).toBe(404);
    }
  });
});

test("alive, ready, measured; Redis away is 503, not a wait", async () => {
  expect(await (await fetch(`${url}/livez`)).text()).toBe("ok");
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  const text = await (await fetch(`${url}/metrics`)).text();
  expect(text).toContain('mocod_jobs{status="succeeded"} 1');
  expect(text).toMatch(/mocod_info\{version="\d/);
  expect(text).toContain('mocod_workers{device="wasm"} 0');
  const redis = connect(service.redisUrl);
  await redis.config("SET", "maxmemory-policy", "allkeys-lru");
  const evicting = await fetch(`${url}/readyz`);
  expect([evicting.status, evicting.headers.get("retry-after")]).toEqual([503, "5"]);
  await redis.config("SET", "maxmemory-policy", "noeviction");
  // Nobody is answered for six seconds.
  await redis.call("CLIENT", "PAUSE", "6000", "ALL");
  const late = await fetch(`${url}/v1/jobs`);
  expect(late.status).toBe(503);
  expect(await late.json()).toMatchObject({ title: "Redis does not answer; try again" });
  expect((await fetch(`${url}/livez`)).status).toBe(200);
  await redis.ping();
  expect((await fetch(`${url}/v1/jobs`)).status).toBe(200);
  redis.disconnect();
}, 30_000);

describe("series", () => {
  test("fewer points: means in order, the extremes kept, the last step named", () => {
    const lines = Array.from({ length: 10 }, (_, i) => ({ epoch: 1, step: i + 1, loss: i, lr: 0.1 }));
    expect(downsample(lines, 20)).toEqual(lines);
    const few = downsample(lines, 3);
    expect(few.map(({ step, loss, lowest, highest }) => [step, loss, lowest, highest])).toEqual([
      [4, 1.5, 0, 3],
      [8, 5.5, 4, 7],
      [10, 8.5, 8, 9],
    ]);
    expect(downsample([], 3)).toEqual([]);
    const epochs = [1, 2, 3, 4, 5].map((epoch) => ({
      epoch,
      knn: epoch % 2 === 0 ? epoch / 10 : null,
      queue: { age: epoch },
    }));
    expect(latest(epochs, 5)).toEqual(epochs);
    expect(latest(epochs, 2)).toEqual([
      { epoch: 3, knn: 0.2, queue: { age: 3 } },
      { epoch: 5, knn: 0.4, queue: { age: 5 } },
    ]);
    expect(latest(epochs.slice(0, 1), 1)).toEqual([{ epoch: 1, knn: null, queue: { age: 1 } }]);
  });

  test("CSV: nested names, missing cells, quotes", () => {
    expect(
      toCsv([
        { a: 1, b: { c: 'say "x", y' } },
        { a: null, d: true },
      ]),
    ).toBe('a,b.c,d\r\n1,"say ""x"", y",\r\n,,true\r\n');
  });
});

describe("keys", () => {
  test("as soon as there is one it is asked for; each scope may what it may; one that is revoked opens nothing", async () => {
    const keys = new ApiKeys(new LocalBlobs(service.dataDir));
    expect((await fetch(`${url}/v1/jobs`)).status).toBe(200);
    const made = await Promise.all((["read", "submit", "admin"] as const).map((scope) => keys.create(scope, scope)));
    const [read, submit] = made.map(({ token }) => token) as [string, string, string];
    const secret = read.slice(-43);
    const ask = (path: string, token?: string, init: RequestInit = {}) =>
      fetch(url + path, { ...init, headers: { ...init.headers, ...(token && { authorization: `Bearer ${token}` }) } });
    const refused = await eventually(async () => {
      const response = await ask("/v1/jobs");
      return response.status === 401 && response;
    });
    expect(refused.headers.get("www-authenticate")).toContain("Bearer");
    expect(await refused.json()).toMatchObject({ title: expect.stringContaining("give a key") });
    for (const path of ["/livez", "/readyz", "/openapi.json"]) expect((await ask(path)).status).toBe(200);
    expect((await ask("/metrics")).status).toBe(401);
    expect((await ask("/v1/jobs", read)).status).toBe(200);
    const body = { method: "POST", headers: { "content-type": "application/json" }, body: "{}" };
    expect((await ask("/v1/jobs", read, body)).status).toBe(403);
    expect((await ask(`/v1/jobs/${run.id}`, read, { method: "DELETE" })).status).toBe(403);
    expect((await ask("/v1/jobs", submit, body)).status).toBe(422);
    // Another secret, another id, half of it, none.
    for (const token of [
      `${read.slice(0, -1)}x`,
      read.replace(/_[0-9a-f]{16}_/, "_0123456789abcdef_"),
      read.slice(0, 30),
      "x",
    ]) {
      expect((await ask("/v1/jobs", token)).status).toBe(401);
    }
    // What is stored does not open anything.
    const file = readFileSync(join(service.dataDir, "keys", `${made[0]?.key.id}.json`), "utf8");
    expect(file).not.toContain(secret);
    const client = new Client(url, submit);
    const job = await client.submit("pretrain", service.spec());
    expect((await client.cancel(job.id)).status).toBe("cancelled");
    for (const { key } of made) await keys.revoke(key.id);
    await eventually(async () => (await ask("/v1/jobs")).status === 200); // no key is left: none is asked for
    await expect(keys.revoke("0123456789abcdef")).rejects.toThrow("there is no key 0123456789abcdef");
    expect(await keys.list()).toEqual([]);
  }, 30_000);

  test("without a key the API opens on loopback alone", async () => {
    using folder = temporaryFolder();
    const env = readEnv({ MOCOD_DATA_DIR: folder.path, MOCOD_HOST: "0.0.0.0", MOCOD_PORT: "0" });
    const log = createLogger("test");
    await expect(startApi(service.redisUrl, env, log)).rejects.toThrow(
      /MOCOD_HOST: got 0\.0\.0\.0, .*mocod keys create/,
    );
    const keys = new ApiKeys(new LocalBlobs(folder.path));
    const { key, token } = await keys.create("first", "admin");
    const api = await startApi(service.redisUrl, env, log);
    const path = `${api.url.replace("0.0.0.0", "127.0.0.1")}/v1/jobs`;
    expect((await fetch(path, { headers: { authorization: `Bearer ${token}` } })).status).toBe(200);
    // Without its last key it is closed, not open.
    await keys.revoke(key.id);
    await eventually(async () => (await fetch(path, { headers: { authorization: `Bearer ${token}` } })).status === 401);
    expect((await fetch(path)).status).toBe(401);
    await api.stop();
  });
});

describe("what is too much", () => {
  const send = (body: string) =>
    fetch(`${url}/v1/jobs`, { method: "POST", headers: { "content-type": "application/json" }, body });

  test("a large body, a deep one, a broken one, another type", async () => {
    expect((await send(`{"type":"${"x".repeat(2 ** 20)}"}`)).status).toBe(413);
    const deep = await send(`{"type":"pretrain","spec":${'{"a":'.repeat(50_000)}1${"}".repeat(50_000)}}`);
    expect(deep.status).toBe(422);
    expect(await deep.json()).toMatchObject({ title: "JSON may nest 32 deep" });
    expect((await send("[".repeat(500_000))).status).toBe(422);
    expect((await send('{"type":')).status).toBe(400);
    expect((await fetch(`${url}/v1/jobs`, { method: "POST", body: "type=pretrain" })).status).toBe(415);
    expect(depthOf('{"a[[[": ["\\"]]]", {"b": []}]}')).toBe(4);
  });

  test("too many requests of one client, and headers that say how many are left", async () => {
    const env = readEnv({ MOCOD_DATA_DIR: service.dataDir, MOCOD_PORT: "0", MOCOD_RATE_LIMIT: "2" });
    const api = await startApi(service.redisUrl, env, createLogger("test"));
    const first = await fetch(`${api.url}/v1/jobs`);
    expect([first.status, first.headers.get("ratelimit-remaining")]).toEqual([200, "19"]);
    const answers = await Promise.all(Array.from({ length: 25 }, () => fetch(`${api.url}/v1/jobs`)));
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused.length).toBe(6);
    expect(Number(refused[0]?.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await fetch(`${api.url}/livez`)).status).toBe(200);
    await api.stop();
  });

  test("headers of every answer keep a browser from doing anything with it", async () => {
    const { headers } = await fetch(`${url}/v1/jobs`);
    expect(headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
  });
});
