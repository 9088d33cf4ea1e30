/** Pipelines: expansion, results, and that a failure or a crash affects no other part. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createClient, type MocodClient } from "../../api/client.ts";
import { Jobs } from "../../src/queue/jobs.ts";
import { keys } from "../../src/queue/keys.ts";
import type { Pipeline } from "../../src/queue/pipelines/pipeline.ts";
import { connect } from "../../src/queue/redis.ts";
import type { JobSpecs, SpecError } from "../../src/schema/job.ts";
import { expand } from "../../src/schema/pipeline.ts";
import { report, reportLines, type Seen } from "../../src/schema/report.ts";
import { sha256 } from "../../src/store/files.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { eventually } from "../support/helpers.ts";
import { type Service, startService } from "../support/service.ts";

describe("layout", () => {
  const pretrain = { type: "pretrain", spec: { dataset: { kind: "fashion-mnist" }, epochs: 10 } };
  let count = 0;
  const newId = () => `run_${count++}`;
  const laidOut = (pipeline: object) => expand(pipeline, newId);
  const errorsOf = (pipeline: object) => {
    try {
      laidOut(pipeline);
    } catch (error) {
      return (error as SpecError).errors.map(({ field, allowed }) => `${field}: ${allowed}`);
    }
    return [];
  };

  test("every point and seed, sources first; what no field touches is there once", () => {
    const jobs = laidOut({
      jobs: {
        probe: { type: "linear-probe", from: "pretrain" },
        knn: { type: "knn", from: "pretrain" },
        pretrain,
      },
      sweep: { grid: { "probe.lr": [0.1, 1], "pretrain.temperature": [0.1, 0.2] }, seeds: [3, 4] },
    });
    const of = (node: string) => jobs.filter((job) => job.node === node);
    expect([of("pretrain").length, of("probe").length, of("knn").length]).toEqual([4, 8, 4]);
    expect(jobs.slice(0, 4).every(({ node }) => node === "pretrain")).toBe(true);
    const byId = new Map(jobs.map((job) => [job.id, job]));
    for (const { node, spec, params, seed } of jobs) {
      expect((spec as JobSpecs["knn"]).seed).toBe(seed as number);
      if (node === "pretrain") {
        expect(spec).toMatchObject({ temperature: params["pretrain.temperature"] });
        continue;
      }
      const source = byId.get((spec as JobSpecs["knn"]).from);
      expect([source?.seed, source?.params]).toEqual([
        seed,
        { "pretrain.temperature": params["pretrain.temperature"] },
      ]);
    }
    expect(of("probe").map(({ spec }) => (spec as JobSpecs["linear-probe"]).lr)).toContainEqual([1]);
  });

  test("a list of points, and a job on a run that is there already", () => {
    const jobs = laidOut({
      jobs: { knn: { type: "knn", spec: { from: "run_old" } }, again: { type: "export", spec: { from: "run_old" } } },
      sweep: { list: [{ "knn.k": 5 }, { "knn.k": 20, "knn.temperature": 0.2 }], seeds: [1, 2] },
    });
    // An export has no seed: once.
    expect(jobs.map(({ node }) => node)).toEqual(["knn", "knn", "knn", "knn", "again"]);
    expect(jobs[2]?.spec).toMatchObject({ from: "run_old", k: [20], temperature: [0.2], seed: 1 });
  });

  test("every bad field is named, with the point at which it is bad", () => {
    expect(
      errorsOf({
        jobs: { pretrain, probe: { type: "linear-probe", from: "pretrain", spec: { epochs: 0 } } },
        sweep: { grid: { "pretrain.temperature": [0.1, -1], "pretrain.nothing": [1] } },
      }),
    ).toEqual([
      "jobs.pretrain.spec.nothing: no such field (at pretrain.temperature 0.1, pretrain.nothing 1)",
      "jobs.pretrain.spec.temperature: more than 0 (at pretrain.temperature -1, pretrain.nothing 1)",
      "jobs.pretrain.spec.nothing: no such field (at pretrain.temperature -1, pretrain.nothing 1)",
    ]);
    expect(errorsOf({ jobs: { a: { type: "knn", from: "b" }, b: { type: "knn", from: "a" } } })).toEqual([
      "jobs.a.from: a pretrain job of the pipeline: none",
      "jobs.b.from: a pretrain job of the pipeline: none",
    ]);
    expect(errorsOf({ jobs: { pretrain }, sweep: { grid: { "probe.lr": [1] } } })).toEqual([
      "sweep.grid: a field of one of pretrain",
    ]);
    expect(errorsOf({ jobs: { pretrain }, sweep: { grid: { "pretrain.__proto__.x": [1] } } }).length).toBe(1);
    expect(errorsOf({ jobs: {} }).length).toBe(1);
    expect(errorsOf({ jobs: { pretrain, knn: { type: "knn", spec: { from: "pretrain" } } } })).toEqual([
      "jobs.knn.spec.from: must be the id of a pretrain job; a job of this pipeline is named by jobs.knn.from",
    ]);
    const many = Array.from({ length: 30 }, (_, i) => i + 1);
    const grid = { "pretrain.epochs": many, "pretrain.dim": many.map((n) => n + 1) };
    expect(errorsOf({ jobs: { pretrain }, sweep: { grid } })).toEqual([
      "sweep: at most 500 jobs; sweep fewer values or seeds",
    ]);
  });

  test("the checkpoint of an epoch must be one that stays", () => {
    const at = (epoch: number, checkpoint: object = {}) =>
      errorsOf({
        jobs: {
          pretrain: { ...pretrain, spec: { ...pretrain.spec, checkpoint } },
          knn: { type: "knn", from: "pretrain", spec: { checkpoint: { epoch } } },
        },
      });
    expect(at(10)).toEqual([]);
    expect(at(9)).toEqual([]); // keepLast is 2
    expect(at(5)).toEqual([
      "jobs.knn.spec.checkpoint.epoch: an epoch whose checkpoint stays: let checkpoint.everyEpochs (1) and " +
        "checkpoint.keepEvery (0) of the pretrain job divide it, or take one of the last: 9, 10",
    ]);
    expect(at(5, { keepEvery: 5 })).toEqual([]);
    expect(at(4, { keepEvery: 2, everyEpochs: 3 }).length).toBe(1);
    expect(at(11)).toEqual([
      "jobs.knn.spec.checkpoint.epoch: at most 10, the epochs of the pretrain job; its last checkpoints are those of epochs 9, 10",
    ]);
  });

  test("the table: mean and sample deviation over seeds, with the failures", () => {
    const one = (seed: number, status: string, top1?: number) =>
      ({
        id: `run_${seed}`,
        node: "knn",
        type: "knn",
        params: { "a.b": 1 },
        seed,
        job: { status, result: { top1 } },
      }) as Seen;
    const rows = report([one(0, "succeeded", 0.5), one(1, "succeeded", 0.7), one(2, "failed"), one(3, "running")]);
    expect(rows).toHaveLength(1);
    const { figures, succeeded, failed, unfinished, seeds } = rows[0] as (typeof rows)[number];
    expect([succeeded, failed, unfinished, seeds]).toEqual([2, 1, 1, [0, 1]]);
    expect(figures.top1?.mean).toBeCloseTo(0.6, 12);
    expect(figures.top1?.std).toBeCloseTo(Math.SQRT2 * 0.1, 12);
    expect(reportLines(rows)[0]).toMatchObject({ job: "knn", "a.b": 1, figure: "top1", succeeded: 2 });
    expect(report([one(0, "succeeded", 0.5)])[0]?.figures.top1?.std).toBeNull();
  });
});

describe("service", () => {
  let service: Service;
  let mocod: MocodClient;
  beforeAll(async () => {
    service = await startService();
    mocod = createClient(service.url);
  }, 60_000);
  afterAll(() => service.stop());

  const submit = async (body: object, key?: string): Promise<Pipeline> => {
    const response = await fetch(`${service.url}/v1/pipelines`, {
      method: "POST",
      headers: { "content-type": "application/json", ...(key && { "idempotency-key": key }) },
      body: JSON.stringify(body),
    });
    if (response.status !== 201) throw new Error(await response.text());
    return (await response.json()) as Pipeline;
  };
  const get = async (id: string) => (await (await fetch(`${service.url}/v1/pipelines/${id}`)).json()) as Pipeline;
  const over = (id: string) =>
    eventually(async () => {
      const pipeline = await get(id);
      return pipeline.status === "succeeded" || pipeline.status === "failed" ? pipeline : undefined;
    }, 120);

  test("pretrain, probes of two checkpoints, an export; two temperatures, two seeds, one branch that fails", async () => {
    const broken = join(service.folder, "broken");
    for (const name of ["a", "b"]) {
      mkdirSync(join(broken, name), { recursive: true });
      for (let i = 0; i < 20; i++) writeFileSync(join(broken, name, `${i}.png`), "no image");
    }
    const body = {
      name: "sweep",
      jobs: {
        pretrain: { type: "pretrain", spec: service.spec({ epochs: 2, checkpoint: { keepEvery: 1 } }) },
        half: { type: "knn", from: "pretrain", spec: { checkpoint: { epoch: 1 }, k: 5, baselines: false } },
        whole: { type: "knn", from: "pretrain", spec: { k: 5, baselines: false } },
        bad: { type: "knn", from: "pretrain", spec: { dataset: { kind: "folder", path: broken } } },
        file: { type: "export", from: "pretrain", spec: { format: "onnx" } },
      },
      sweep: { grid: { "pretrain.temperature": [0.1, 0.2] }, seeds: [0, 1] },
    };
    const accepted = await submit(body, "a sweep");
    expect(accepted.jobs.length).toBe(20);
    expect((await submit(body, "a sweep")).id).toBe(accepted.id);
    await expect(submit({ ...body, name: "other" }, "a sweep")).rejects.toThrow("was used before");
    const done = await over(accepted.id);
    expect(done.status).toBe("failed");
    expect(done.counts).toEqual({ succeeded: 16, failed: 4 });
    for (const job of ["half", "whole"]) {
      const rows = done.results.filter((row) => row.job === job);
      expect(rows.map(({ params }) => params["pretrain.temperature"])).toEqual([0.1, 0.2]);
      for (const row of rows) {
        expect([row.succeeded, row.figures.top1?.values.length]).toEqual([2, 2]);
        expect(row.figures.top1?.std).toBeGreaterThanOrEqual(0);
      }
    }
    // Half the way is another encoder.
    const steps = await Promise.all(
      done.jobs
        .filter(
          ({ node, seed, params }) =>
            ["half", "whole"].includes(node) && seed === 0 && params["pretrain.temperature"] === 0.1,
        )
        .map(async ({ id }) => (await service.client.job(id)).result as { step: number; backbone: string }),
    );
    expect(steps.map(({ step }) => step)).toEqual([15, 30]);
    expect(steps[0]?.backbone).not.toBe(steps[1]?.backbone);
    // The file is there, and is what its job says.
    const exported = done.jobs.find(({ node }) => node === "file")?.id as string;
    const { file, sha256: sum } = (await service.client.job(exported)).result as { file: string; sha256: string };
    expect(sha256(readFileSync(join(service.dataDir, "runs", exported, file)))).toBe(sum);
    // Found again: by the list, as a table.
    const jobs = await service.client.list({ pipeline: accepted.id, limit: "100" });
    expect(jobs.jobs.length).toBe(20);
    expect(jobs.jobs.at(-1)?.name).toBe("sweep / pretrain temperature=0.1 seed=0");
    const csv = await (await fetch(`${service.url}/v1/pipelines/${accepted.id}/results?format=csv`)).text();
    expect(csv.split("\r\n")[0]).toBe("job,pretrain.temperature,figure,mean,std,succeeded,failed,unfinished");
    expect(csv).toContain("bad,0.2,,,,0,2,0");
    const listed = await mocod.v1.pipelines.$get({ query: {} });
    expect(listed.status === 200 && (await listed.json()).pipelines.map(({ id }) => id)).toEqual([accepted.id]);

    const removed = await mocod.v1.pipelines[":id"].$delete({ param: { id: accepted.id } });
    expect(removed.status).toBe(204);
    expect((await service.client.list({ pipeline: accepted.id })).jobs).toEqual([]);
    expect(existsSync(join(service.dataDir, "runs", exported, file))).toBe(false);
    expect((await mocod.v1.pipelines[":id"].$get({ param: { id: accepted.id } })).status).toBe(404);
  }, 180_000);

  test("paused and resumed, cancelled and retried as one", async () => {
    const body = {
      jobs: {
        pretrain: { type: "pretrain", spec: service.spec({ epochs: 3000 }) },
        knn: { type: "knn", from: "pretrain" },
      },
      sweep: { seeds: [0, 1] },
    };
    const { id } = await submit(body);
    const act = async (name: string) => {
      const response = await fetch(`${service.url}/v1/pipelines/${id}/${name}`, { method: "POST" });
      expect(response.status).toBe(200);
    };
    const counts = async (expected: Pipeline["counts"]) => {
      let seen: Pipeline | undefined;
      const reached = async () => {
        seen = await get(id);
        return JSON.stringify(seen.counts) === JSON.stringify(expected);
      };
      await eventually(reached, 30).catch((cause) => {
        throw new Error(`counts ${JSON.stringify(expected)} not reached: ${JSON.stringify(seen)}`, { cause });
      });
    };
    await eventually(async () => (await get(id)).counts.running === 1);
    await act("pause");
    await counts({ paused: 4 });
    expect((await get(id)).status).toBe("paused");
    await act("resume");
    await eventually(async () => (await get(id)).counts.waiting === 2);
    expect((await fetch(`${service.url}/v1/pipelines/${id}`, { method: "DELETE" })).status).toBe(409);
    await act("cancel");
    await counts({ cancelled: 4 });
    expect((await get(id)).status).toBe("failed");
    await act("retry");
    await eventually(async () => (await get(id)).counts.waiting === 2);
    await act("cancel");
    await counts({ cancelled: 4 });
  }, 90_000);

  test("an API that dies between two jobs of a pipeline: housekeeping submits the rest; Redis wiped: it is listed again", async () => {
    const { id } = await submit({
      jobs: {
        pretrain: { type: "pretrain", spec: service.spec({ epochs: 1 }) },
        knn: { type: "knn", from: "pretrain" },
      },
    });
    const [, second] = (await over(id)).jobs;
    const redis = connect(service.redisUrl);
    // A save that is still in progress would write the deleted job's files once more, for a moment.
    await eventually(async () => (await redis.scard(keys.dirty)) === 0);
    // As such an API leaves it: the second job does not exist, and the pipeline is not marked as submitted.
    await service.client.remove(second?.id as string);
    const file = join(service.dataDir, "pipelines", `${id}.json`);
    const stored = JSON.parse(readFileSync(file, "utf8")) as object;
    writeFileSync(file, JSON.stringify({ ...stored, submitted: false }));
    const jobs = new Jobs(redis, new LocalBlobs(service.dataDir), () => undefined);
    const { pipelines } = jobs;
    expect((await get(id)).counts).toEqual({ succeeded: 1 });
    expect((await get(id)).status).toBe("running");
    await redis.del(keys.pipelines);
    await pipelines.rebuild();
    expect((await pipelines.list(10)).pipelines.map((pipeline) => pipeline.id)).toContain(id);
    await pipelines.submitRemaining(); // the API that accepted it may still be submitting
    expect((await get(id)).counts).toEqual({ succeeded: 1 });
    await pipelines.submitRemaining(0);
    const done = await over(id);
    expect([done.status, done.counts]).toEqual(["succeeded", { succeeded: 2 }]);
    expect(await redis.smembers(keys.unsubmitted)).toEqual([]);
    // A job that is deleted later stays deleted.
    await service.client.remove(second?.id as string);
    await pipelines.submitRemaining(0);
    expect((await get(id)).jobs.length).toBe(1);
    await jobs.close();
    redis.disconnect();
  }, 60_000);
});
