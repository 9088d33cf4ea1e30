/** An outage of Redis shorter than a lock, and a bucket as the store, with real processes. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openBlobs } from "../../src/store/open_blobs.ts";
import { RunStore } from "../../src/store/run_store.ts";
import { startCluster } from "../soak/cluster.ts";
import { eventually, temporaryFolder } from "../support/helpers.ts";
import { type Fault, startS3 } from "../support/s3.ts";
import { startService } from "../support/service.ts";

test("Redis unreachable for two thirds of the lock: training continues, without a stall or a second worker", async () => {
  using folder = temporaryFolder();
  const logFile = join(folder.path, "log");
  // As 60 seconds are to the 90 that are the default.
  const cluster = await startCluster(logFile, { MOCOD_LOCK_SECONDS: "9" });
  try {
    const { client } = cluster;
    const job = await client.submit("pretrain", cluster.spec({ epochs: 2000 }));
    const stepOf = async () => (await client.job(job.id)).progress?.step ?? 0;
    const before = await eventually(async () => {
      const step = await stepOf();
      return step >= 20 && step;
    });
    const startedAt = performance.now();
    await cluster.redis.restart(6000);
    const after = await eventually(stepOf);
    const away = (performance.now() - startedAt) / 1000;
    // It was not away for nothing, and training did not wait: at least half of its pace before.
    const later = await eventually(async () => {
      const step = await stepOf();
      return step > after && step;
    });
    expect(later - before).toBeGreaterThan(away * 3);
    await client.cancel(job.id);
    const over = await eventually(async () => {
      const now = await client.job(job.id);
      return now.finishedAt !== null && now;
    });
    expect(over.status).toBe("cancelled");
    const log = readFileSync(logFile, "utf8");
    expect(log).not.toContain("resuming after step");
    expect(log).not.toContain("lock");
  } finally {
    await cluster.stop();
  }
}, 120_000);

test("a bucket over an unreliable connection: killed and resumed, a run ends in the same bytes; a job moves between machines", async () => {
  let seed = 3;
  const bad: Fault[] = ["refuse", "busy", "cut", "cutLate"];
  const s3 = await startS3(() => {
    seed = (seed * 48271) % 2147483647;
    return seed % 10 === 0 ? (bad[(seed >> 4) % bad.length] as Fault) : "pass";
  });
  Object.assign(process.env, s3.variables);
  const service = await startService(s3.variables);
  const plain = await startService({ MOCOD_STORE: "" });
  try {
    const spec = service.spec({ epochs: 8, encoder: { arch: "resnet18", stem: "cifar", width: 8 } });
    const calm = await plain.client.submit("pretrain", spec);
    const job = await service.client.submit("pretrain", spec);
    await service.until(job.id, (j) => (j.progress?.step ?? 0) >= 25);
    await service.stopWorker("SIGKILL");
    // Another machine: another data folder, another number of threads.
    using other = temporaryFolder();
    service.startWorker({ MOCOD_DATA_DIR: other.path, MOCOD_THREADS: "1" });
    await service.until(job.id, (j) => j.status === "succeeded");
    await plain.until(calm.id, (j) => j.status === "succeeded");
    s3.faults(() => "pass");
    const run = new RunStore(openBlobs(s3.url), job.id);
    const expected = new RunStore(openBlobs(`file://${plain.dataDir}`), calm.id);
    const sums = async (store: RunStore) =>
      (await store.readJson<{ files: Record<string, { sha256: string }> }>("manifest.json"))?.files;
    const { "result.json": result, ...files } = (await sums(run)) ?? {};
    const { "result.json": ignored, ...wanted } = (await sums(expected)) ?? {};
    expect(Object.keys(files).length).toBeGreaterThan(10);
    expect(files).toEqual(wanted);
    const probe = await service.client.submit("linear-probe", { from: job.id, epochs: 2 });
    await service.until(probe.id, (j) => j.status === "succeeded");
    const failed = Object.entries(s3.counts).filter(([fault, count]) => fault !== "pass" && count > 0);
    expect(failed.length).toBe(bad.length);
    await service.stopWorker("SIGTERM");
    service.startWorker();
  } finally {
    await service.stop();
    await plain.stop();
    for (const name of Object.keys(s3.variables)) delete process.env[name];
    await s3.stop();
  }
}, 180_000);
