/** Metrics for Prometheus, collected from Redis at each scrape, so that every API reports the same. */
import { Gauge, Registry } from "prom-client";
import type { Jobs } from "../src/queue/jobs.ts";
import { jobStatuses } from "../src/schema/life.ts";
import { VERSION } from "../src/util/version.ts";

export function createMetrics(jobs: Jobs): Registry {
  const registry = new Registry();
  const gauge = <L extends string>(name: string, help: string, labelNames: L[] = []) =>
    new Gauge({ name: `mocod_${name}`, help, labelNames, registers: [registry] });
  const info = gauge("info", "1, with the version", ["version"]);
  const count = gauge("jobs", "jobs by status", ["status"]);
  const workers = gauge("workers", "live workers", ["device"]);
  const busy = gauge("workers_busy", "workers that run a job");
  const threads = gauge("worker_threads", "threads of workers that run a job");
  const running = ["job", "name"] as ["job", "name"];
  const jobGauges = {
    loss: gauge("job_loss", "loss of the last step, of each running job", running),
    images: gauge("job_images_per_second", "images per second, of each running job", running),
    step: gauge("job_step", "steps done, of each running job", running),
    steps: gauge("job_steps", "steps in all, of each running job", running),
    eta: gauge("job_eta_seconds", "seconds left at the current pace, of each running job", running),
    seconds: gauge("job_seconds", "seconds since the start, of each running job", running),
    dataWait: gauge("job_data_wait", "share of the time spent waiting for images, of each running job", running),
    checkpoint: gauge("job_checkpoint_seconds", "seconds from snapshot to store of the newest checkpoint", running),
    knn: gauge("job_knn", "kNN top-1 of the monitor, of each running job", running),
  };

  /** Sets a gauge only where there is a value: one that is set to nothing would report 0. */
  const set = (
    metric: Gauge<"job" | "name">,
    labels: { job: string; name: string },
    value: number | null | undefined,
  ) => {
    if (value !== null && value !== undefined) metric.set(labels, value);
  };

  const collect = async (): Promise<void> => {
    info.set({ version: VERSION }, 1);
    for (const status of jobStatuses) count.set({ status }, await jobs.records.count(status));
    const alive = await jobs.fleet.list();
    workers.reset();
    for (const device of ["webgpu", "wasm"]) {
      workers.set({ device }, alive.filter(({ webgpu }) => webgpu === (device === "webgpu")).length);
    }
    const working = alive.filter(({ job }) => job !== null);
    busy.set(working.length);
    threads.set(working.reduce((sum, worker) => sum + worker.threads, 0));
    for (const metric of Object.values(jobGauges)) metric.reset();
    for (const job of (await jobs.records.list({ status: "running", limit: 1000 })).jobs) {
      const labels = { job: job.id, name: job.name ?? "" };
      const { progress, startedAt } = job;
      set(jobGauges.loss, labels, progress?.loss);
      set(jobGauges.images, labels, progress?.imagesPerSecond);
      set(jobGauges.step, labels, progress?.step);
      set(jobGauges.steps, labels, progress?.steps);
      set(jobGauges.eta, labels, progress?.eta);
      set(jobGauges.seconds, labels, (startedAt && (Date.now() - Date.parse(startedAt)) / 1000) || null);
      set(jobGauges.dataWait, labels, progress?.dataWait);
      set(jobGauges.checkpoint, labels, progress?.checkpointSeconds);
      set(jobGauges.knn, labels, progress?.knn);
    }
  };
  const { metrics } = registry;
  registry.metrics = async () => {
    await collect();
    return metrics.call(registry);
  };
  return registry;
}
