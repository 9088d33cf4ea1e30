/** Accepts jobs: writes each to the store first, then to Redis, and then queues it. */
import type { Redis } from "ioredis";
import {
  type ForkSource,
  type Job,
  type JobSpecs,
  type JobType,
  type PipelineMember,
  SpecError,
} from "../../schema/job.ts";
import { expectFits, expectKept } from "../../schema/kept.ts";
import { lint } from "../../schema/lint.ts";
import { chosen } from "../../store/retention.ts";
import type { RunStore } from "../../store/run_store.ts";
import { idOfKey, newId } from "../../util/id.ts";
import { keys, type QueueName } from "../keys.ts";
import type { Archive, StoredJob } from "../records/archive.ts";
import { createRecord, JOB_FORMAT, type JobEvent, noAttempts } from "../records/record.ts";
import type { Records } from "../records/records.ts";
import type { Entries } from "./entries.ts";
import type { Life } from "./life.ts";

/** An Idempotency-Key that was used before, for a different request. */
export class KeyReusedError extends Error {
  override name = "KeyReusedError";
  constructor(key: string, id: string) {
    super(`Idempotency-Key: "${key}" was used before, for another request (job ${id}); use a new key for a new job`);
  }
}

/** After this the process that accepts a request counts as dead. */
const ACCEPTING_MS = 30_000;
const POLL_MS = 50;

export interface Submission<T extends JobType = JobType> {
  readonly type: T;
  readonly name?: string | null;
  readonly spec: JobSpecs[T];
  readonly priority?: number;
  readonly metadata?: Record<string, string>;
  /** Determines the id: the same key gives the same job. */
  readonly idempotency?: { key: string; request: string } | undefined;
  readonly forked?: ForkSource | null;
  readonly pipeline?: PipelineMember | null;
  /** Throws where the job cannot be accepted. Not called for a request that was accepted before. */
  readonly check?: () => Promise<void>;
  /** Fills the run's folder before the job is visible. */
  readonly fill?: (run: RunStore) => Promise<unknown>;
}

export class Submissions {
  constructor(
    private readonly redis: Redis,
    private readonly archive: Archive,
    private readonly records: Records,
    private readonly entries: Entries,
    private readonly life: Life,
  ) {}

  /**
   * Accepts a job with a valid spec; it is in the store when this resolves. A job on an unfinished run waits for that
   * run.
   *
   * @throws KeyReusedError where the idempotency key was used for a different request.
   */
  async submit<T extends JobType>(submission: Submission<T>): Promise<Job> {
    const { idempotency } = submission;
    const id = idempotency ? idOfKey("run", idempotency.key) : newId("run");
    const accept = () => this.accept(submission, id);
    if (idempotency) await this.once({ id, ...idempotency }, () => this.records.read(id), accept);
    else await accept();
    return (await this.records.get(id)) as Job;
  }

  /** Accepts a job under a given id, unless there is one already. */
  async submitAs<T extends JobType>(id: string, submission: Submission<T>): Promise<void> {
    if (!(await this.records.read(id))) await this.accept(submission, id);
  }

  /**
   * Adds a run that was pretrained elsewhere to the finished ones.
   *
   * @param fill - Writes the run's checkpoint.
   */
  async adopt(
    name: string,
    spec: JobSpecs["pretrain"],
    epochs: number,
    fill: (run: RunStore) => Promise<unknown>,
  ): Promise<Job> {
    const record = newRecord({
      id: newId("run"),
      type: "pretrain",
      name,
      spec,
      priority: 0,
      metadata: {},
      forked: null,
      pipeline: null,
      status: "succeeded",
    });
    record.startedAt = record.createdAt;
    record.finishedAt = record.createdAt;
    await this.create(record, async (run) => {
      const checkpoint = await fill(run);
      record.result = { imported: true, epochs, checkpoint };
      await run.finish(record.result);
    });
    return (await this.records.get(record.id)) as Job;
  }

  /**
   * Checks the source of a job that uses another one's encoder, and that it has the checkpoint that is asked for or will have it.
   *
   * @param field - Name of the source's field in the error.
   * @throws SpecError unless the source is a pretrain job that has succeeded or still can, with that checkpoint.
   */
  async expectSource(type: JobType, spec: JobSpecs[JobType], field = "spec.from"): Promise<void> {
    if (!("from" in spec)) return;
    const source = await this.records.read(spec.from);
    const refuse = (allowed: string) => new SpecError([{ field, got: spec.from, allowed }]);
    if (source?.type !== "pretrain") throw refuse("the id of a pretrain job");
    if (source.status === "failed" || source.status === "cancelled") {
      throw refuse(`a pretrain job that can end well (the status of this one is ${source.status})`);
    }
    const { spec: pretrained } = source as { spec: JobSpecs["pretrain"] };
    if (source.status !== "succeeded") return expectKept(type, spec, pretrained);
    expectFits(type, spec, pretrained);
    await this.expectCheckpoint(spec);
  }

  /** Throws SpecError where a finished run has no such checkpoint, naming those that it has. */
  private async expectCheckpoint(spec: Extract<JobSpecs[JobType], { from: string }>): Promise<void> {
    const records = await this.records.run(spec.from).checkpoints();
    if (chosen(records, spec.checkpoint).length > 0) return;
    const has = records.map(({ step, epoch }) => `step ${step}${epoch ? ` (epoch ${epoch})` : ""}`).join(", ");
    throw new SpecError([
      { field: "spec.checkpoint", got: spec.checkpoint, allowed: `"last", or one that the run has: ${has || "none"}` },
    ]);
  }

  /**
   * Handles a request with an Idempotency-Key: accepts it unless it was accepted before, one process at a time.
   *
   * @param find - Finds what the request created.
   * @throws KeyReusedError where the key was used for a different request.
   */
  async once<T extends { request: string | null }>(
    { id, key, request }: { id: string; key: string; request: string },
    find: () => Promise<T | undefined>,
    accept: () => Promise<unknown>,
  ): Promise<void> {
    for (;;) {
      const known = await find();
      if (known && known.request !== request) throw new KeyReusedError(key, id);
      if (known) return;
      if (await this.redis.set(keys.accepting(id), "1", "PX", ACCEPTING_MS, "NX")) {
        // A study is planned meanwhile, which may take longer than the lock lasts.
        const renewal = setInterval(() => this.redis.pexpire(keys.accepting(id), ACCEPTING_MS), ACCEPTING_MS / 3);
        try {
          await accept();
          return;
        } finally {
          clearInterval(renewal);
          await this.redis.del(keys.accepting(id));
        }
      }
      await Bun.sleep(POLL_MS);
    }
  }

  private async accept<T extends JobType>(submission: Submission<T>, id: string): Promise<void> {
    const { type, name = null, spec, priority = 0, metadata = {}, idempotency, fill } = submission;
    const { forked = null, pipeline = null } = submission;
    await submission.check?.();
    const from = "from" in spec ? spec.from : undefined;
    const status = from ? ("waiting" as const) : ("queued" as const);
    const record = newRecord({ id, type, name, spec, priority, metadata, forked, pipeline, status });
    record.request = idempotency?.request ?? null;
    record.warnings = type === "pretrain" ? lint(spec as JobSpecs["pretrain"]).map(({ message }) => message) : [];
    const source = from ? await this.records.read(from) : undefined;
    record.queue = queueFor(source ? source.spec : spec);
    await this.create(record, fill);
    if (source) await this.life.awaitSource(id, source.id);
    else await this.entries.add(id);
  }

  /** The store first: a job that only Redis had would be lost with Redis. */
  private async create(record: StoredJob, fill?: (run: RunStore) => Promise<unknown>): Promise<void> {
    await fill?.(this.records.run(record.id));
    const history: JobEvent[] = [
      { id: `${Date.parse(record.createdAt)}-0`, type: "status", data: { status: record.status } },
    ];
    await this.archive.write(record, history);
    await createRecord(this.redis, record, history);
  }
}

function newRecord(
  job: Pick<StoredJob, "id" | "type" | "name" | "spec" | "priority" | "metadata" | "forked" | "pipeline" | "status">,
): StoredJob {
  return {
    warnings: [],
    result: null,
    error: null,
    request: null,
    createdAt: new Date().toISOString(),
    startedAt: null,
    finishedAt: null,
    retryAt: null,
    progress: null,
    format: JOB_FORMAT,
    version: 1,
    generation: 1,
    entry: `${job.id}_1`,
    queue: "any",
    place: "",
    attempts: noAttempts,
    ...job,
  };
}

function queueFor(spec: JobSpecs[JobType]): QueueName {
  return "device" in spec && spec.device === "webgpu" ? "webgpu" : "any";
}
