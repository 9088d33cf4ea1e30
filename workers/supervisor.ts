/** Runs one job at a time: takes an entry of the queue, has a child compute it, and records the outcome. */
import { DelayedError, type Job as QueueJob, WaitingError } from "bullmq";
import type { Logger } from "pino";
import type { Jobs } from "../src/queue/jobs.ts";
import { type Fields, JOB_FORMAT, type JobRecord } from "../src/queue/records/record.ts";
import { type JobSpecs, type Progress, parseStored, SpecError } from "../src/schema/job.ts";
import { atRest, finalStatuses, liveStatuses, type Moves } from "../src/schema/life.ts";
import type { StopReason } from "../src/train/reporter.ts";
import type { Env } from "../src/util/env.ts";
import { type Attempt, type Listener, startAttempt } from "./attempt.ts";
import { judgeFailure, prefersWasm } from "./backoff.ts";
import type { Ending, StartMessage } from "./protocol.ts";

const PROGRESS_INTERVAL_MS = 250;
/** Delay of a job whose format only newer workers know. */
const NEWER_MS = 30_000;
/** Time for the last step of a child at shutdown; a service manager allows ten seconds from SIGTERM to the end. */
const SHUTDOWN_MS = 8_000;
/** Time for the last step of a child at a pause or a cancel. */
const STOP_MS = 120_000;

export type QueueEntry = QueueJob<{ runId: string }>;

/** The job that this worker is running. */
interface Assignment {
  readonly record: JobRecord;
  /** Proves to BullMQ that this worker holds the lock on the entry. */
  readonly token: string;
  attempt?: Attempt;
  /** Kills a child that does not stop in time. */
  deadline?: Timer;
}

export class Supervisor {
  private current: Assignment | undefined;
  private stopping = false;

  constructor(
    private readonly jobs: Jobs,
    private readonly env: Env,
    private readonly log: Logger,
  ) {}

  /** The current job and its lock, for the heartbeat. */
  get held() {
    if (!this.current) return null;
    const { record, token } = this.current;
    return { id: record.id, queue: record.queue, entry: record.entry, token };
  }

  /** Stops the current job if its status asks for that. Called on a notification, and with every heartbeat. */
  async checkRequests(id = this.current?.record.id): Promise<void> {
    if (id === undefined || this.current?.record.id !== id) return;
    const record = await this.jobs.records.read(id);
    if (record?.status === "cancelling") this.stop("cancel");
    else if (record?.status === "pausing") this.stop("pause");
  }

  /** Stops the current job, and takes no other. */
  shutdown(): void {
    this.stopping = true;
    this.stop("shutdown");
  }

  private stop(why: StopReason): void {
    const { current } = this;
    if (!current?.attempt) return;
    current.attempt.stop(why);
    const limit = why === "shutdown" ? SHUTDOWN_MS : STOP_MS;
    if (current.deadline && why !== "shutdown") return;
    clearTimeout(current.deadline);
    current.deadline = setTimeout(() => current.attempt?.kill(), limit);
  }

  /**
   * Processes an entry for BullMQ.
   *
   * @param signal - Aborts when the lock is lost.
   * @throws WaitingError or DelayedError, as BullMQ requires, where the entry returns to the queue.
   */
  async process(queued: QueueEntry, token: string, signal: AbortSignal): Promise<void> {
    if (this.current || this.stopping) return this.giveBack(queued, token);
    const record = await this.jobs.records.read(queued.data.runId);
    if (!record || record.entry !== queued.id) return; // an outdated entry, or a deleted job
    if (record.format > JOB_FORMAT) {
      this.log.warn({ id: record.id }, `format ${record.format} is of a newer mocod; left to newer workers`);
      return this.delay(queued, token, NEWER_MS);
    }
    const assignment: Assignment = { record, token };
    this.current = assignment;
    try {
      if (!(await this.take(record))) return;
      const ending = await this.compute(assignment, signal);
      if (signal.aborted) throw new Error(String(signal.reason));
      await this.conclude(queued, assignment, ending);
    } finally {
      clearTimeout(assignment.deadline);
      this.current = undefined;
    }
  }

  /** Marks the job as running; false where there is nothing to compute. */
  private async take(record: JobRecord): Promise<boolean> {
    const { id, entry, status } = record;
    if (finalStatuses.includes(status)) {
      // The worker died after it had recorded the end and before it completed the entry.
      await this.jobs.life.releaseDependents(record);
      return false;
    }
    const startedAt = record.startedAt ?? new Date().toISOString();
    const fields = { startedAt, retryAt: null };
    const { before, changed } = await this.jobs.life.move(id, { queued: "running", running: "running" }, fields, {
      entry,
    });
    if (!changed) await this.jobs.life.move(id, { pausing: "paused", cancelling: "cancelled" }, {}, { entry });
    if (before === "running") this.log.info({ id }, "resumed after its worker was lost");
    return changed;
  }

  private async compute(assignment: Assignment, signal: AbortSignal): Promise<Ending & { reached?: number }> {
    const { record } = assignment;
    const start = await this.startMessage(record);
    if (start.kind === "failed") return start;
    let reached = -1;
    const listener = this.listener(assignment, (step) => {
      reached = step;
    });
    const attempt = startAttempt(start, listener, this.env.stallMinutes);
    assignment.attempt = attempt;
    signal.addEventListener("abort", () => attempt.kill(), { once: true });
    if (this.stopping) this.stop("shutdown");
    await this.checkRequests(record.id);
    return { ...(await attempt.ended), reached };
  }

  /** Builds the message that starts the child. Validates the spec again: a queued job may be older than this worker. */
  private async startMessage(record: JobRecord): Promise<StartMessage | Extract<Ending, { kind: "failed" }>> {
    try {
      const spec = parseStored(record.type, record.spec);
      let source: StartMessage["source"];
      if ("from" in spec) {
        const runId = spec.from;
        const run = await this.jobs.records.read(runId);
        if (!run) return { kind: "failed", cause: "final", message: `the run ${runId} does not exist any more` };
        source = { runId, spec: parseStored("pretrain", run.spec) };
      }
      const { dataDir, datasetRoots, threads, storeUrl, cacheLimit } = this.env;
      const anyDevice = (source?.spec ?? (spec as JobSpecs["pretrain"])).device === "auto";
      const device = anyDevice && prefersWasm(record.attempts) ? "wasm" : this.env.device;
      const where = { storeUrl, dataDir, datasetRoots, cacheLimit };
      return { kind: "start", runId: record.id, type: record.type, spec, source, where, threads, device };
    } catch (error) {
      if (error instanceof SpecError) return { kind: "failed", cause: "final", message: error.message };
      throw error;
    }
  }

  /** Records the outcome of an attempt, if the entry is still the current one of the job. */
  private async conclude(
    queued: QueueEntry,
    assignment: Assignment,
    ending: Ending & { reached?: number },
  ): Promise<void> {
    const { record, token } = assignment;
    const { id, entry } = record;
    const move = (moves: Moves, fields: Fields = {}) => this.jobs.life.move(id, moves, fields, { entry });
    this.log.info({ id, ending: ending.kind }, "attempt ended");
    if (ending.kind === "done") {
      await move({ running: "succeeded", pausing: "succeeded", cancelling: "succeeded" }, { result: ending.result });
      return;
    }
    if (ending.kind === "failed" && ending.cause === "fenced") throw new Error(ending.message);
    // A child that was killed because it did not stop in time has not failed.
    const killed =
      ending.kind === "failed" && ending.cause === "other" && (this.stopping || assignment.deadline !== undefined);
    if (ending.kind === "stopped" || killed) {
      const { after } = await move(atRest);
      if (after === "queued") await this.giveBack(queued, token);
      return;
    }
    const { attempts, delay } = judgeFailure(ending, record.attempts, ending.reached ?? -1);
    if (delay === undefined) {
      const error =
        ending.cause === "final" ? ending.message : `${attempts.futile} attempts without progress: ${ending.message}`;
      await move({ running: "failed", pausing: "failed", cancelling: "cancelled" }, { error, attempts });
      return;
    }
    const toWasm = prefersWasm(attempts) && !prefersWasm(record.attempts);
    const next = toWasm ? "resuming from the last checkpoint on WASM" : "retrying from the last checkpoint";
    this.log.warn({ id, error: ending.message }, `${next} in ${delay / 1000} s`);
    await this.jobs.life.change(id, { entry, event: { type: "log", data: `${ending.message}; ${next}` } });
    const retryAt = new Date(Date.now() + delay).toISOString();
    const { after } = await move(atRest, { attempts, retryAt });
    if (after === "queued") await this.delay(queued, token, delay);
  }

  /** Returns an entry to the front of its priority. */
  private async giveBack(queued: QueueEntry, token: string): Promise<never> {
    await queued.moveToWait(token);
    throw new WaitingError();
  }

  /** Returns an entry to the queue for `ms` milliseconds. */
  private async delay(queued: QueueEntry, token: string, ms: number): Promise<never> {
    // Redis's clock: this machine's may have jumped.
    await queued.moveToDelayed((await this.jobs.entries.now()) + ms, token);
    throw new DelayedError();
  }

  /** Records the events of a child, progress at most four times a second. */
  private listener({ record, token }: Assignment, reached: (step: number) => void): Listener {
    const { id, entry } = record;
    let last = 0;
    const logFailure = (work: Promise<unknown>) =>
      void work.catch((error: Error) => this.log.error({ id }, error.message));
    return {
      permit: () => this.jobs.entries.holds(record, token),
      log: (message) => {
        this.log.info({ id }, message);
        logFailure(this.jobs.life.change(id, { entry, event: { type: "log", data: message } }));
      },
      warnings: (warnings) => {
        for (const warning of warnings) this.log.info({ id }, warning);
        logFailure(
          this.jobs.life.change(id, { entry, fields: { warnings }, event: { type: "warnings", data: warnings } }),
        );
      },
      progress: (progress: Progress) => {
        reached(progress.step);
        const now = performance.now();
        if (now - last < PROGRESS_INTERVAL_MS && progress.step < progress.steps) return;
        last = now;
        const change = this.jobs.life.change(id, {
          entry,
          fields: { progress },
          event: { type: "progress", data: progress },
        });
        logFailure(
          change.then(({ after }) =>
            liveStatuses.includes(after) && after !== "running" ? this.checkRequests(id) : undefined,
          ),
        );
      },
    };
  }
}
