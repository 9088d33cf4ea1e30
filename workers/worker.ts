/**
 * Takes jobs from the queue and has a child compute them. The worker holds BullMQ's lock and computes nothing itself,
 * so the lock is renewed in time; the death of a child fails the attempt and not the worker.
 */
import { Worker } from "bullmq";
import type { Logger } from "pino";
import { HEARTBEAT_MS } from "../src/queue/fleet.ts";
import { Jobs } from "../src/queue/jobs.ts";
import { CONTROL_CHANNEL, QUEUES, type QueueName } from "../src/queue/keys.ts";
import { connect, waitUntilReady } from "../src/queue/redis.ts";
import { telemetry } from "../src/queue/telemetry.ts";
import { openBlobs } from "../src/store/open_blobs.ts";
import type { Env } from "../src/util/env.ts";
import { capabilities } from "./capabilities.ts";
import { startPlanner } from "./planner.ts";
import { type QueueEntry, Supervisor } from "./supervisor.ts";

/** Longest shutdown, even if Redis or the child does not respond. */
const STOP_MS = 9_500;
/** Renewals of a lock within its duration: nearly all of that is left when Redis becomes unreachable. */
const RENEWALS = 9;

export interface RunningWorker {
  /** Lets the current job write a checkpoint and return to the queue, then closes. Takes at most ten seconds. */
  stop(): Promise<void>;
}

/** Starts a worker; resolves when it takes jobs. */
export async function startWorker(redisUrl: string, env: Env, log: Logger): Promise<RunningWorker> {
  const redis = connect(redisUrl);
  const warn = (message: string) => log.warn(message);
  await waitUntilReady(redis, warn);
  const jobs = new Jobs(redis, openBlobs(env.storeUrl), warn, env.redisJobs);
  const supervisor = new Supervisor(jobs, env, log);
  const logFailure = (work: Promise<unknown>) => void work.catch((error: Error) => log.warn(error.message));

  const control = connect(redisUrl);
  control.on("message", (_channel: string, text: string) =>
    logFailure(supervisor.checkRequests((JSON.parse(text) as { id: string }).id)),
  );
  await control.subscribe(CONTROL_CHANNEL);

  const info = await capabilities(env);
  const beat = () => {
    const { held } = supervisor;
    return jobs.fleet.beat({ ...info, seenAt: new Date().toISOString(), job: held?.id ?? null, held });
  };
  await beat();
  const stopHousekeeping = jobs.housekeeping.start();

  const workers: Worker<{ runId: string }>[] = [];
  const lockMs = env.lockSeconds * 1000;
  const handle = async (own: Worker, entry: QueueEntry, token: string, signal: AbortSignal) => {
    const others = workers.filter((worker) => worker !== own);
    for (const other of others) logFailure(other.pause(true));
    try {
      logFailure(beat());
      await supervisor.process(entry, token, signal);
    } finally {
      logFailure(beat());
      for (const other of others) if (!stopped) await other.resume();
    }
  };
  const open = (name: QueueName) => {
    const worker: Worker<{ runId: string }> = new Worker<{ runId: string }>(
      QUEUES[name],
      // BullMQ makes the signal only for a function that declares three parameters.
      async (job, token, signal) => handle(worker, job, token as string, signal as AbortSignal),
      {
        connection: connect(redisUrl),
        concurrency: 1,
        telemetry,
        lockDuration: lockMs,
        // Rounded: Redis refuses fractions, and no job would ever be found stalled.
        lockRenewTime: Math.round(lockMs / RENEWALS),
        stalledInterval: Math.round(Math.min(5000, Math.max(500, lockMs / 3))),
        // BullMQ never resets its count of stalls, and a long job may survive many crashes.
        maxStalledCount: 1_000_000,
      },
    );
    worker.on("error", (error) => log.warn({ error: error.message }, "queue"));
    worker.on("lockRenewalFailed", (ids: string[]) => {
      for (const id of ids) worker.cancelJob(id, "the lock was lost");
    });
    workers.push(worker);
  };
  let stopped = false;
  open("any");
  if (info.webgpu) open("webgpu");
  const planner = startPlanner(redisUrl, env, info.id, () => supervisor.held !== null, log);
  const heart = setInterval(() => {
    logFailure(beat());
    logFailure(supervisor.checkRequests());
  }, HEARTBEAT_MS);
  log.info({ id: info.id, threads: env.threads, device: info.device, store: env.storeUrl }, "worker ready");

  return {
    async stop() {
      stopped = true;
      supervisor.shutdown();
      const closed = (async () => {
        await Promise.all([planner.close(), ...workers.map((worker) => worker.close())]);
        clearInterval(heart);
        await stopHousekeeping();
        await jobs.fleet.leave(info.id);
        await jobs.close();
        return true;
      })();
      const inTime = await Promise.race([closed, Bun.sleep(STOP_MS).then(() => false)]);
      if (!inTime) log.warn("Redis does not answer: exiting at once; the job resumes when its lock expires");
      control.disconnect();
      redis.disconnect();
    },
  };
}
