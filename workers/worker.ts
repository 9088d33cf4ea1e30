/**
 * Takes jobs from the queue and has a child compute them. The worker holds BullMQ's lock and does nothing heavy,
 * so the lock is renewed in time; a child that dies is a failed attempt, never a dead worker.
 */
import { type Job as QueueJob, WaitingError, Worker } from "bullmq";
import type { Logger } from "pino";
import { CONTROL_CHANNEL, Jobs, QUEUE } from "../src/queue/jobs.ts";
import { connect, waitUntilReady } from "../src/queue/redis.ts";
import { finalStatuses, type Job, type JobSpecs, type Progress, parseSpec, SpecError } from "../src/spec/job.ts";
import type { Env } from "../src/util/env.ts";
import { type Attempt, type Ending, startAttempt } from "./attempt.ts";
import type { FromChild, StartMessage } from "./protocol.ts";

/** Children that may die one after another without a step forward before the job is failed. */
const FUTILE_ATTEMPTS = 3;
/** Times that a GPU may fail a job before the job goes on on WASM, where its spec leaves the device to us. */
const DEVICE_FAILURES = 2;

const mayChange = ({ source, spec }: StartMessage): boolean =>
  (source?.spec ?? (spec as JobSpecs["pretrain"])).device === "auto";

const PROGRESS_INTERVAL_MS = 250;

export interface RunningWorker {
  /** Lets the job in hand write a checkpoint and go back to the queue, then closes. */
  stop(): Promise<void>;
}

export async function startWorker(redisUrl: string, env: Env, log: Logger): Promise<RunningWorker> {
  const redis = connect(redisUrl);
  await waitUntilReady(redis, (message) => log.warn(message));
  const jobs = new Jobs(redis, env.dataDir);
  const supervisor = new Supervisor(jobs, env, log);

  const control = connect(redisUrl);
  control.on("message", (_channel: string, text: string) => supervisor.control(JSON.parse(text)));
  await control.subscribe(CONTROL_CHANNEL);

  const worker = new Worker<{ runId: string }>(
    QUEUE,
    // BullMQ makes the signal only for a function that declares three parameters.
    async (job, token, signal) => supervisor.process(job, token as string, signal as AbortSignal),
    {
      connection: connect(redisUrl),
      concurrency: 1,
      lockDuration: env.lockSeconds * 1000,
      stalledInterval: Math.max(500, (env.lockSeconds * 1000) / 3),
      // BullMQ counts stalls over a job's whole life and never resets them; a long job may see many crashes.
      maxStalledCount: 1_000_000,
    },
  );
  worker.on("error", (error) => log.warn({ error: error.message }, "queue"));
  worker.on("lockRenewalFailed", (ids: string[]) => {
    for (const id of ids) worker.cancelJob(id, "the lock was lost");
  });
  log.info({ threads: env.threads, dataDir: env.dataDir }, "worker ready");
  return {
    async stop() {
      supervisor.shutdown();
      await worker.close();
      control.disconnect();
      await jobs.close();
      redis.disconnect();
    },
  };
}

class Supervisor {
  private current: { id: string; attempt: Attempt } | undefined;
  private stopping = false;

  constructor(
    private readonly jobs: Jobs,
    private readonly env: Env,
    private readonly log: Logger,
  ) {}

  control({ id }: { id: string }): void {
    if (this.current?.id === id) this.current.attempt.stop("cancel");
  }

  shutdown(): void {
    this.stopping = true;
    this.current?.attempt.stop("shutdown");
  }

  async process(queued: QueueJob<{ runId: string }>, token: string, signal: AbortSignal): Promise<void> {
    const job = await this.jobs.get(queued.data.runId);
    if (!job) {
      this.log.error({ id: queued.data.runId }, "queued, but unknown");
      return;
    }
    if (finalStatuses.includes(job.status)) {
      // Killed between its last words and BullMQ hearing of them.
      await this.jobs.releaseDependents(job);
      return;
    }
    const ending = await this.compute(job, signal);
    if (signal.aborted) throw new Error(String(signal.reason));
    if (ending.kind === "stopped" && ending.why === "shutdown") {
      await this.jobs.setStatus(job.id, ["running"], "queued");
      await queued.moveToWait(token);
      throw new WaitingError();
    }
    await this.finish(job, ending);
  }

  private async finish(job: Job, ending: Ending): Promise<void> {
    const live = ["running", "cancelling", "pausing"] as const;
    if (ending.kind === "done") {
      this.jobs.folder(job.id).writeResult(ending.result);
      await this.jobs.setStatus(job.id, live, "succeeded", { result: ending.result });
    } else if (ending.kind === "stopped") await this.jobs.setStatus(job.id, live, "cancelled");
    else await this.jobs.setStatus(job.id, live, "failed", { error: ending.message });
    this.log.info({ id: job.id, ending: ending.kind }, "job ended");
  }

  /** Runs children until one ends the job. A dead child is replaced, and its job goes on from the checkpoint. */
  private async compute(job: Job, signal: AbortSignal): Promise<Ending> {
    const startedAt = job.startedAt ?? new Date().toISOString();
    const { before } = await this.jobs.setStatus(job.id, ["queued", "running"], "running", { startedAt });
    if (before === "cancelling") return { kind: "stopped", why: "cancel" };
    const start = await this.startMessage(job);
    if (start.kind === "failed") return start;

    let furthest = -1;
    let deviceFailures = 0;
    for (let futile = 0; ; futile++) {
      let reached = -1;
      const listener = this.listener(job.id, (step) => {
        reached = step;
      });
      const attempt = startAttempt(start, listener);
      this.current = { id: job.id, attempt };
      signal.addEventListener("abort", () => attempt.kill(), { once: true });
      if (this.stopping) attempt.stop("shutdown");
      const ending = await attempt.ended;
      this.current = undefined;
      if (ending.kind !== "failed" || ending.final || signal.aborted) return ending;
      if (reached > furthest) futile = 0;
      furthest = Math.max(furthest, reached);
      if (futile + 1 >= FUTILE_ATTEMPTS) return ending;
      let next = "trying again from the last checkpoint";
      if (ending.device && ++deviceFailures === DEVICE_FAILURES && mayChange(start)) {
        start.device = "wasm";
        next = "going on from the last checkpoint on WASM";
      }
      this.log.warn({ id: job.id, error: ending.message }, next);
      await this.jobs.change(job.id, [], {}, { type: "log", data: `${ending.message}; ${next}` });
    }
  }

  /** The spec is validated again: what waits in Redis may be older than this worker. */
  private async startMessage(job: Job): Promise<StartMessage | Extract<Ending, { kind: "failed" }>> {
    try {
      const spec = parseSpec(job.type, job.spec);
      let source: StartMessage["source"];
      if ("from" in spec) {
        const runId = spec.from;
        source = { runId, spec: parseSpec("pretrain", this.jobs.folder(runId).readJob<Job>().spec) };
      }
      const { dataDir, threads, device } = this.env;
      return { kind: "start", runId: job.id, type: job.type, spec, source, dataDir, threads, device };
    } catch (error) {
      if (error instanceof SpecError) return { kind: "failed", final: true, message: error.message };
      throw error;
    }
  }

  /** Passes on what a child says, progress at most four times a second, and hears of a cancel on the way. */
  private listener(id: string, reached: (step: number) => void): (message: FromChild) => void {
    let last = 0;
    return (message) => {
      if (message.kind === "log") {
        this.log.info({ id }, message.message);
        this.jobs
          .change(id, [], {}, { type: "log", data: message.message })
          .catch((error: Error) => this.log.error(error));
        return;
      }
      if (message.kind === "warnings") {
        for (const warning of message.warnings) this.log.info({ id }, warning);
        this.jobs
          .change(id, [], { warnings: message.warnings }, { type: "warnings", data: message.warnings })
          .catch((error: Error) => this.log.error(error));
        return;
      }
      if (message.kind !== "progress") return;
      const progress: Progress = message.progress;
      reached(progress.step);
      if (Date.now() - last < PROGRESS_INTERVAL_MS && progress.step < progress.steps) return;
      last = Date.now();
      this.jobs
        .change(id, [], { progress }, { type: "progress", data: progress })
        .then(({ before }) => {
          if (before === "cancelling") this.control({ id });
        })
        .catch((error: Error) => this.log.error(error));
    };
  }
}
