/** Studies over the API and by the command line: refused before the first job, run, killed in the middle, and reported. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { Client } from "../../cli/client.ts";
import { Jobs } from "../../src/queue/jobs.ts";
import { keys } from "../../src/queue/keys.ts";
import type { Pipeline } from "../../src/queue/pipelines/pipeline.ts";
import type { StudyRun } from "../../src/queue/pipelines/studies.ts";
import { connect } from "../../src/queue/redis.ts";
import type { FieldError } from "../../src/schema/job.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { studyHtml } from "../../src/study/html.ts";
import { studyMarkdown } from "../../src/study/markdown.ts";
import type { ReportRun, StudyReport } from "../../src/study/types.ts";
import { eventually } from "../support/helpers.ts";
import { type Service, startService } from "../support/service.ts";

const main = join(import.meta.dir, "../../cli/main.ts");
let service: Service;
beforeAll(async () => {
  service = await startService();
  await eventually(async () => (await service.client.workers()).length === 1);
}, 60_000);
afterAll(() => service.stop());

async function mocod(...args: string[]) {
  const child = Bun.spawn([process.execPath, main, "study", ...args], {
    cwd: service.folder,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, MOCOD_DATA_DIR: service.dataDir, MOCOD_PORT: new URL(service.url).port },
  });
  const [out, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, out: out.trim(), errors };
}

/** An API as a process of its own, beside that of the service. */
async function startOther() {
  const child = Bun.spawn([process.execPath, main, "serve", "--no-worker"], {
    stdio: ["ignore", "ignore", "pipe"],
    env: {
      ...process.env,
      REDIS_URL: service.redisUrl,
      MOCOD_DATA_DIR: service.dataDir,
      MOCOD_PORT: "0",
      MOCOD_LOG: "info",
    },
  });
  let log = "";
  for await (const chunk of child.stderr) {
    log += Buffer.from(chunk).toString();
    const [, url] = log.match(/"url":"([^"]+)","msg":"API ready"/) ?? [];
    if (url !== undefined) return [child, url] as const;
  }
  throw new Error(`the API has not started: ${log}`);
}

/** More than WASM has. */
const large = {
  batchSize: 200,
  queueSize: 256,
  splits: 1,
  encoder: { arch: "resnet10", stem: "cifar", width: 64 },
  augmentation: { size: 112 },
};
const study = (more: object = {}, pretrain: object = {}) => ({
  title: "Temperatures of a tiny run",
  question: "Is 0.1 better than 0.5?",
  paper: { citation: "none", figures: { cold: { kNN: 59 }, warm: { kNN: 55.2 } } },
  pipeline: {
    jobs: {
      pretrain: { type: "pretrain", spec: { ...service.spec({ epochs: 2 }), ...pretrain } },
      knn: { type: "knn", from: "pretrain", spec: { k: 5, baselines: false } },
    },
    sweep: {
      points: { cold: { "pretrain.temperature": 0.1 }, warm: { "pretrain.temperature": 0.5 } },
      planned: { large: Object.fromEntries(Object.entries(large).map(([field, of]) => [`pretrain.${field}`, of])) },
      seeds: [3],
    },
  },
  scales: { minutes: {}, hours: { jobs: { pretrain: { spec: { epochs: 40 } } } } },
  table: {
    columns: [
      { name: "kNN", job: "knn", figure: "top1", unit: "percent" },
      { name: "loss", job: "pretrain", metric: "loss", better: "lower" },
      { name: "planned", job: "pretrain", plan: "memory", unit: "MB", better: "lower" },
    ],
  },
  plots: [{ title: "kNN", x: "epoch", y: { job: "pretrain", metric: "knn" }, unit: "percent" }],
  claims: [{ better: "cold", than: "warm", in: "kNN" }],
  ...more,
});

const post = (body: object) =>
  fetch(`${service.url}/v1/studies`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
const refused = async (body: object): Promise<FieldError[]> => {
  const response = await post(body);
  expect(response.status).toBe(422);
  return ((await response.json()) as { errors: FieldError[] }).errors;
};
const over = (client: Client, id: string) =>
  eventually(async () => {
    const pipeline: Pipeline = await client.pipeline(id);
    return pipeline.finishedAt === null ? undefined : pipeline;
  }, 120);
const reported = async (client: Client, id: string) => JSON.parse(await client.studyReport(id, "json")) as StudyReport;
/** Everything that does not differ from run to run, as all formats have it. */
const fixed: ReportRun = {
  id: "pipe_0",
  createdAt: "",
  finishedAt: null,
  hours: 0,
  machines: [],
  devices: [],
  versions: [],
  jobs: [],
};
const bytesOf = (report: StudyReport) => {
  const same = { ...report, run: fixed };
  return [JSON.stringify(same), studyHtml(same), studyMarkdown(same)];
};

test("refused before the first job: a field, a dataset and a size that cannot be", async () => {
  const fields = (errors: FieldError[]) => errors.map(({ field }) => field);
  expect(fields(await refused({ name: "nothing" }))).toEqual(["name"]);
  expect(fields(await refused({}))).toEqual(["name"]);
  expect(await refused({ spec: study(), scale: "gpu" })).toEqual([
    { field: "scale", got: "gpu", allowed: "minutes, hours" },
  ]);
  const [unknown] = await refused({ spec: study({}, { tempo: 1 }) });
  expect(unknown?.field).toBe("pipeline.jobs.pretrain.spec.tempo");
  expect(unknown?.allowed).toContain("(at scale minutes)");
  const nowhere = join(service.folder, "nowhere");
  const [missing] = await refused({ spec: study({}, { dataset: { kind: "fashion-mnist", path: nowhere } }) });
  expect(missing).toMatchObject({ field: "pipeline.jobs.pretrain.spec.dataset.path", got: nowhere });
  expect(missing?.allowed).toContain("is not there");
  const [tooLarge] = await refused({ spec: study({}, large) });
  expect(tooLarge?.field).toBe("pipeline.jobs.pretrain.spec");
  expect(tooLarge?.allowed).toContain("memory");
  expect((await service.client.list({})).jobs).toEqual([]);
  expect((await service.client.studies()).runs).toEqual([]);
}, 60_000);

test("run twice, once with every process killed in its middle: the same reports to the byte, but for `run`", async () => {
  const file = join(service.folder, "tiny.yaml");
  writeFileSync(file, stringify(study()));
  const watched = await mocod("run", "tiny.yaml", "--scale", "minutes", "--watch");
  expect([watched.code, watched.errors]).toEqual([0, expect.stringContaining("planned: at most")]);
  expect(watched.out).toContain("# Temperatures of a tiny run");
  const [first] = (await service.client.studies()).runs as [StudyRun];
  const report = await reported(service.client, first.id);
  expect(watched.out).toBe(studyMarkdown(report).trim());
  expect([first.study, first.status, first.scale, report.unfinished]).toEqual([null, "succeeded", "minutes", 0]);
  expect(report.rows.map(({ cells }) => cells.map((cell) => cell?.seeds))).toEqual([
    [[3], [3], [3]],
    [[3], [3], [3]],
    [undefined, undefined, [null]],
  ]);
  // What the study was refused for where it was to run is only planned here.
  expect(report.rows[2]?.cells[2]?.mean).toBeGreaterThan(2 ** 32 / 1e6);
  expect(watched.out).toContain("| large (planned, not run) |");
  expect(first.plannedMemory as number).toBeLessThan(2e9);
  // What is printed is what the jobs have stored.
  const stored = (await service.client.pipeline(first.id)).results.find(({ job }) => job === "knn")?.figures.top1;
  expect(report.rows[0]?.cells[0]?.values).toEqual((stored?.values ?? []).map((value) => 100 * value));
  expect(report.claims[0]?.few).toBe(true);
  expect(report.run.jobs.length).toBe(4);

  const [dying, url] = await startOther();
  const second = await new Client(url).runStudy({ spec: study(), scale: "minutes" });
  await eventually(async () => ((await service.client.pipeline(second.id)).counts.succeeded ?? 0) >= 1);
  dying.kill("SIGKILL");
  for (const pid of service.children()) process.kill(pid, "SIGKILL");
  await service.stopWorker("SIGKILL");
  const [other, address] = await startOther();
  service.startWorker();
  const client = new Client(address);
  expect((await over(client, second.id)).status).toBe("succeeded");
  const again = await reported(client, second.id);
  expect(bytesOf(again)).toEqual(bytesOf(report));
  expect(again.run.id).not.toBe(report.run.id);
  const texts = await Promise.all((["html", "md"] as const).map((format) => client.studyReport(second.id, format)));
  expect(texts).toEqual([studyHtml(again), studyMarkdown(again)]);
  other.kill("SIGTERM");
  expect(await other.exited).toBe(0);
}, 180_000);

test("by the command line: committed studies, a report as a file; gone with its pipeline", async () => {
  const list = await mocod("list");
  expect(list.out).toMatch(/^moco-v2-ablation +The ablation of MoCo v2$/m);
  const { runs } = await service.client.studies();
  const id = runs[0]?.id as string;
  expect(list.out).toContain(`${id}  succeeded`);
  // A Redis that was wiped lists them again.
  const redis = connect(service.redisUrl);
  await redis.del(keys.studies);
  const jobs = new Jobs(redis, new LocalBlobs(service.dataDir), () => undefined);
  await jobs.pipelines.rebuild();
  expect((await service.client.studies()).runs.map((run) => run.id)).toEqual(runs.map((run) => run.id));
  await jobs.close();
  redis.disconnect();
  expect((await mocod("report", id, "--format", "html", "--out", "report.html")).code).toBe(0);
  expect(readFileSync(join(service.folder, "report.html"), "utf8")).toBe(await service.client.studyReport(id, "html"));
  const unknown = await mocod("report", "pipe_0");
  expect([unknown.code, unknown.errors.trim()]).toEqual([1, "there is no run of a study pipe_0"]);
  const wrong = await mocod("run", "no-study");
  expect([wrong.code, wrong.errors]).toEqual([
    1,
    expect.stringContaining('name: got "no-study", allowed: clip-and-the-batch, key-momentum'),
  ]);
  expect((await fetch(`${service.url}/v1/pipelines/${id}`, { method: "DELETE" })).status).toBe(204);
  expect((await service.client.studies()).runs.map((run) => run.id)).toEqual(runs.slice(1).map((run) => run.id));
  // Where no worker runs a study is accepted without a plan.
  await service.stopWorker("SIGTERM");
  await eventually(async () => (await service.client.workers()).length === 0);
  const run = (await (await post({ name: "key-momentum" })).json()) as StudyRun;
  expect(run).toMatchObject({ study: "key-momentum", scale: "minutes", plannedMemory: null });
  expect(run.unplanned).toContain("no worker is running");
  expect((await reported(service.client, run.id)).rows.every(({ cells }) => cells.every((cell) => cell === null))).toBe(
    true,
  );
}, 60_000);
