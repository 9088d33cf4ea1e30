/**
 * Turns changes of status into webhook deliveries. Every change writes an entry into the outbox in the same atomic
 * step. One API at a time turns entries into deliveries, and any API sends them: at least once each, with a stable id.
 */
import { type Job as Delivery, type Queue, Worker } from "bullmq";
import type { Redis } from "ioredis";
import type { SecretWebhook, WebhookEvent, Webhooks } from "../../store/webhooks.ts";
import { messageOf } from "../../util/errors.ts";
import { keys } from "../keys.ts";
import { openQueue } from "../open_queue.ts";
import type { Pipelines } from "../pipelines/pipelines.ts";
import type { Records } from "../records/records.ts";
import { connect } from "../redis.ts";
import { telemetry } from "../telemetry.ts";
import { deliver } from "./deliver.ts";

export const DELIVERIES = "mocod-webhooks";
/** Delays between the attempts of a delivery: the schedule of Standard Webhooks, a day in all. */
const DELAYS_S = [5, 300, 1800, 7200, 18_000, 36_000];
const ROUND_MS = 500;
const LOCK_MS = 10_000;
/** Finished deliveries that BullMQ keeps, so that none of them is added twice. */
const KEPT = 5000;

interface Message {
  type: WebhookEvent;
  /** Time of the event, ISO 8601. */
  timestamp: string;
  data: object;
}
interface Waiting {
  hook: string;
  message: Message;
}

const finished = { succeeded: "job.succeeded", failed: "job.failed", cancelled: "job.cancelled" } as const;
const events: Record<string, WebhookEvent> = { ...finished, running: "job.running", paused: "job.paused" };

export interface DeliveriesDeps {
  readonly redis: Redis;
  /** Address of the same Redis, for BullMQ's blocking connection. */
  readonly redisUrl: string;
  readonly records: Records;
  readonly pipelines: Pipelines;
  readonly hooks: Webhooks;
  /** Whether webhooks may go to private addresses. */
  readonly allowPrivate: boolean;
  readonly log: (message: string) => void;
}

export class Deliveries {
  private readonly queue: Queue<Waiting>;
  private readonly worker: Worker<Waiting>;
  private readonly rounds: Promise<void>;
  private stopped = false;

  /** Starts at once, and runs until `close`. */
  constructor(private readonly deps: DeliveriesDeps) {
    const { redis, redisUrl, log } = deps;
    this.queue = openQueue(DELIVERIES, redis);
    this.worker = new Worker<Waiting>(DELIVERIES, (delivery) => this.attempt(delivery), {
      connection: connect(redisUrl),
      concurrency: 8,
      telemetry,
      settings: { backoffStrategy: (made) => 1000 * (DELAYS_S[made - 1] as number) },
    });
    this.worker.on("error", (error) => log(`webhooks: ${error.message}`));
    this.worker.on("failed", (delivery, error) => {
      log(`webhook ${delivery?.data.hook}, ${delivery?.data.message.type}: ${error.message}`);
    });
    this.rounds = this.consume();
  }

  private async attempt({ id, data }: Delivery<Waiting>): Promise<void> {
    const hook = (await this.deps.hooks.all()).find((known) => known.id === data.hook);
    if (!hook) return; // deleted since
    await deliver(hook, `msg_${id}`, JSON.stringify(data.message), this.deps.allowPrivate);
  }

  private async consume(): Promise<void> {
    while (!this.stopped) {
      try {
        if (!(await this.round())) await Bun.sleep(ROUND_MS);
      } catch (error) {
        if (!this.stopped) this.deps.log(`webhooks: ${messageOf(error)}`);
        await Bun.sleep(ROUND_MS);
      }
    }
  }

  /** Turns some entries into deliveries; false where there were none, or another API is doing so. */
  private async round(): Promise<boolean> {
    const { redis } = this.deps;
    if (!(await redis.set(keys.outboxLock, process.pid, "PX", LOCK_MS, "NX"))) return false;
    try {
      const position = await redis.get(keys.outboxPosition);
      const entries = await redis.xrange(keys.outbox, position ? `(${position}` : "-", "+", "COUNT", 100);
      for (const [entry, [, job = "", , status = ""]] of entries) await this.accept(entry, job, status);
      const last = entries.at(-1)?.[0];
      if (last) await redis.set(keys.outboxPosition, last);
      return entries.length > 0;
    } finally {
      await redis.del(keys.outboxLock);
    }
  }

  /** Adds the deliveries of one entry. Idempotent: the id of a delivery follows from its event. */
  private async accept(entry: string, id: string, status: string): Promise<void> {
    const { hooks: webhooks, records, pipelines } = this.deps;
    const hooks = await webhooks.all();
    if (hooks.length === 0) return;
    const timestamp = new Date(Number(entry.split("-")[0])).toISOString();
    const job = await records.read(id);
    if (!job) return; // deleted since
    const { type, name, metadata, pipeline, error } = job;
    const event = events[status];
    if (event) {
      const data = { id, type, name, status, metadata, pipeline, error: status === "failed" ? error : null };
      await this.add(hooks, { type: event, timestamp, data }, entry);
    }
    if (!pipeline || !(status in finished)) return;
    const whole = await pipelines.get(pipeline.id);
    if (!whole?.finishedAt) return;
    const { counts, results } = whole;
    const data = { id: whole.id, name: whole.name, status: whole.status, metadata: whole.metadata, counts, results };
    const key = `${whole.id}_${Date.parse(whole.finishedAt)}`;
    await this.add(hooks, { type: "pipeline.finished", timestamp, data }, key);
  }

  private async add(hooks: readonly SecretWebhook[], message: Message, key: string): Promise<void> {
    for (const { id } of hooks.filter((hook) => hook.events.includes(message.type))) {
      await this.queue.add(
        message.type,
        { hook: id, message },
        {
          jobId: `${id}_${key}`,
          attempts: DELAYS_S.length + 1,
          backoff: { type: "custom" },
          removeOnComplete: { count: KEPT },
          removeOnFail: { count: KEPT },
        },
      );
    }
  }

  async close(): Promise<void> {
    this.stopped = true;
    await this.rounds;
    await this.worker.close();
    await this.queue.close();
  }
}
