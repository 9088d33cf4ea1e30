/**
 * Jobs in flight. Redis holds the record of each (a hash), its events (a capped stream) and the BullMQ queue that
 * hands its id to a worker. BullMQ has no `cancelled` or `paused`, so the status is ours and the record is the truth.
 */
import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import type { Job, JobSpecs, JobStatus, JobType, Progress } from "../spec/job.ts";
import { finalStatuses } from "../spec/job.ts";
import { lint } from "../spec/lint.ts";
import { RunFolder } from "../store/run_folder.ts";
import { newRunId } from "../util/id.ts";

export const QUEUE = "mocod";
/** Nudges workers; the record's status is what counts, so a lost message only delays. */
export const CONTROL_CHANNEL = "mocod:control";
const INDEX = "mocod:runs";
const EVENTS_KEPT = 5000;

export const runKey = (id: string) => `mocod:run:${id}`;
export const eventsKey = (id: string) => `mocod:run:${id}:events`;
const dependentsKey = (id: string) => `mocod:run:${id}:dependents`;

export interface JobEvent {
  id: string;
  type: "status" | "progress" | "log" | "warnings";
  data: unknown;
}

/** Changes a record and writes the event of it in one step, if the status is one of those expected. */
const CHANGE = `
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return nil end
local expected = cjson.decode(ARGV[1])
local fits = #expected == 0
for _, s in ipairs(expected) do if s == status then fits = true end end
if fits then
  local fields = cjson.decode(ARGV[2])
  for i = 1, #fields, 2 do redis.call('HSET', KEYS[1], fields[i], fields[i + 1]) end
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'type', ARGV[3], 'data', ARGV[4])
end
return {status, fits and 1 or 0}
`;

type Fields = Partial<Pick<Job, "status" | "progress" | "warnings" | "result" | "error" | "startedAt" | "finishedAt">>;

export class Jobs {
  readonly queue: Queue<{ runId: string }>;

  constructor(
    readonly redis: Redis,
    private readonly dataDir: string,
  ) {
    this.queue = new Queue(QUEUE, { connection: redis });
    this.queue.on("error", () => undefined); // the connection retries; see redis.ts
  }

  folder(id: string): RunFolder {
    return new RunFolder(this.dataDir, id);
  }

  /** Accepts a job with a valid spec. A probe of an unfinished run waits for it. */
  async submit<T extends JobType>(type: T, name: string | null, spec: JobSpecs[T]): Promise<Job> {
    const id = newRunId();
    const createdAt = new Date().toISOString();
    const awaited = "from" in spec ? spec.from : undefined;
    const warnings = type === "pretrain" ? lint(spec as JobSpecs["pretrain"]).map(({ message }) => message) : [];
    const status: JobStatus = awaited ? "waiting" : "queued";
    this.folder(id).create();
    this.folder(id).writeJob({ id, type, name, spec, createdAt });
    const [specText, warningsText] = [spec, warnings].map((value) => JSON.stringify(value)) as [string, string];
    const record = { id, type, name: name ?? "", status, spec: specText, warnings: warningsText, createdAt };
    await this.redis.hset(runKey(id), record);
    await this.redis.zadd(INDEX, Date.parse(createdAt), id);
    await this.redis.xadd(eventsKey(id), "*", "type", "status", "data", JSON.stringify({ status }));
    if (awaited) {
      await this.redis.sadd(dependentsKey(awaited), id);
      const source = await this.get(awaited);
      if (source && finalStatuses.includes(source.status)) await this.releaseDependents(source);
    } else {
      await this.enqueue(id, type);
    }
    return (await this.get(id)) as Job;
  }

  /**
   * Puts a run that was pretrained elsewhere among the finished ones. `fill` writes its checkpoint before anyone can
   * see it.
   */
  async adopt(
    name: string,
    spec: JobSpecs["pretrain"],
    epochs: number,
    fill: (folder: RunFolder) => unknown,
  ): Promise<Job> {
    const id = newRunId();
    const at = new Date().toISOString();
    const folder = this.folder(id);
    folder.create();
    const checkpoint = fill(folder);
    const result = { imported: true, epochs, checkpoint };
    folder.writeResult(result);
    const times = { createdAt: at, startedAt: at, finishedAt: at };
    folder.writeJob({ id, type: "pretrain", name, status: "succeeded", spec, result, ...times });
    const status: JobStatus = "succeeded";
    const texts = { spec: JSON.stringify(spec), result: JSON.stringify(result) };
    await this.redis.hset(runKey(id), { id, type: "pretrain", name, status, ...texts, ...times });
    await this.redis.xadd(eventsKey(id), "*", "type", "status", "data", JSON.stringify({ status }));
    await this.redis.zadd(INDEX, Date.parse(at), id);
    return (await this.get(id)) as Job;
  }

  private async enqueue(id: string, type: JobType): Promise<void> {
    await this.queue.add(type, { runId: id }, { jobId: id, removeOnComplete: true, removeOnFail: true });
  }

  async get(id: string): Promise<Job | undefined> {
    const record = await this.redis.hgetall(runKey(id));
    if (!record.id) return undefined;
    const parse = (text: string | undefined): unknown => (text ? JSON.parse(text) : null);
    return {
      id: record.id,
      type: record.type as JobType,
      name: record.name || null,
      status: record.status as JobStatus,
      progress: parse(record.progress) as Progress | null,
      spec: parse(record.spec) as JobSpecs[JobType],
      warnings: (parse(record.warnings) as string[] | null) ?? [],
      result: parse(record.result),
      error: record.error || null,
      createdAt: record.createdAt as string,
      startedAt: record.startedAt || null,
      finishedAt: record.finishedAt || null,
    };
  }

  /** Newest first. */
  async list(limit: number): Promise<Job[]> {
    const ids = await this.redis.zrevrange(INDEX, 0, limit - 1);
    const jobs = await Promise.all(ids.map((id) => this.get(id)));
    return jobs.filter((job) => job !== undefined);
  }

  /** Returns the status before, and whether it was one of `expected` (empty: any) so that the change was made. */
  async change(id: string, expected: readonly JobStatus[], fields: Fields, event: Omit<JobEvent, "id">) {
    const flat = Object.entries(fields).flatMap(([name, value]) => [
      name,
      typeof value === "string" ? value : value === null ? "" : JSON.stringify(value),
    ]);
    const answer = (await this.redis.eval(
      CHANGE,
      2,
      runKey(id),
      eventsKey(id),
      JSON.stringify(expected),
      JSON.stringify(flat),
      event.type,
      JSON.stringify(event.data),
      EVENTS_KEPT,
    )) as [JobStatus, number] | null;
    if (!answer) throw new Error(`job ${id} is not in Redis`);
    return { before: answer[0], changed: answer[1] === 1 };
  }

  async setStatus(id: string, expected: readonly JobStatus[], status: JobStatus, fields: Fields = {}) {
    const final = finalStatuses.includes(status) ? { finishedAt: new Date().toISOString() } : {};
    const outcome = await this.change(
      id,
      expected,
      { ...fields, ...final, status },
      { type: "status", data: { status } },
    );
    if (outcome.changed && finalStatuses.includes(status)) {
      const job = (await this.get(id)) as Job;
      this.folder(id).writeJob(job);
      await this.releaseDependents(job);
    }
    return outcome;
  }

  /** Lets jobs that wait for this one go on, or fails them where it came to nothing. Safe to repeat. */
  async releaseDependents(source: Job): Promise<void> {
    for (const id of await this.redis.smembers(dependentsKey(source.id))) {
      const job = await this.get(id);
      if (job && source.status === "succeeded") {
        await this.setStatus(id, ["waiting"], "queued");
        await this.enqueue(id, job.type);
      } else if (job) {
        await this.setStatus(id, ["waiting"], "failed", {
          error: `the job it waits for, ${source.id}, is ${source.status}`,
        });
      }
      await this.redis.srem(dependentsKey(source.id), id);
    }
  }

  /** Asks for a cancel. Returns the status now; the job's own if it was final already. */
  async cancel(id: string): Promise<JobStatus> {
    const { before, changed } = await this.setStatus(id, ["waiting", "queued", "paused"], "cancelled");
    if (changed) {
      await this.queue.remove(id);
      return "cancelled";
    }
    if (finalStatuses.includes(before)) return before;
    await this.setStatus(id, ["running", "pausing"], "cancelling");
    await this.redis.publish(CONTROL_CHANNEL, JSON.stringify({ id }));
    return "cancelling";
  }

  async close(): Promise<void> {
    await this.queue.close();
  }
}
