/**
 * From changes of status to webhooks. Every change writes an entry into the outbox, in one step with the change itself; one
 * API at a time turns entries into deliveries, and any of them delivers: at least once, with an id that stays the same.
 */
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { type Job as Delivery, type Queue, Worker } from "bullmq";
import { Webhook as Signer } from "standardwebhooks";
import type { SecretWebhook, WebhookEvent, Webhooks } from "../../store/webhooks.ts";
import { messageOf } from "../../util/errors.ts";
import { VERSION } from "../../util/version.ts";
import type { Jobs } from "../jobs.ts";
import { keys } from "../keys.ts";
import { openQueue } from "../open_queue.ts";
import { Pipelines } from "../pipelines/pipelines.ts";
import { connect } from "../redis.ts";
import { telemetry } from "../telemetry.ts";
import { targetOf } from "./addresses.ts";

export const DELIVERIES = "mocod-webhooks";
/** After which failures of a delivery follow each other: Standard Webhooks' schedule, a day in all. */
const DELAYS_S = [5, 300, 1800, 7200, 18_000, 36_000];
const ANSWER_MS = 15_000;
const ROUND_MS = 500;
const LOCK_MS = 10_000;
/** Deliveries that are over and still known: none of them is made twice. */
const KEPT = 5000;

interface Message {
  type: WebhookEvent;
  /** When it happened, ISO 8601. */
  timestamp: string;
  data: object;
}
interface Waiting {
  hook: string;
  message: Message;
}

const finished = { succeeded: "job.succeeded", failed: "job.failed", cancelled: "job.cancelled" } as const;
const events: Record<string, WebhookEvent> = { ...finished, running: "job.running", paused: "job.paused" };

/** Sends one message. Throws where the answer is no 2xx, or none. A redirect is no success: it could lead anywhere. */
export async function deliver(
  hook: Pick<SecretWebhook, "url" | "secret">,
  id: string,
  body: string,
  allowPrivate: boolean,
): Promise<void> {
  const url = new URL(hook.url);
  const target = await targetOf(url, allowPrivate);
  const at = new Date();
  const headers = {
    ...{
      "content-type": "application/json",
      "user-agent": `mocod/${VERSION}`,
      "content-length": Buffer.byteLength(body),
    },
    ...{ "webhook-id": id, "webhook-timestamp": String(Math.floor(at.getTime() / 1000)) },
    "webhook-signature": new Signer(hook.secret).sign(id, at, body),
  };
  const send = url.protocol === "https:" ? httpsRequest : httpRequest;
  const status = await new Promise<number>((resolve, reject) => {
    const sent = send(
      url,
      {
        ...{ method: "POST", headers, timeout: ANSWER_MS, agent: false, signal: AbortSignal.timeout(ANSWER_MS) },
        // Bun and Node ask for all addresses, or for one.
        lookup: (_, { all }, found) =>
          all
            ? found(null, [target])
            : (found as (e: null, a: string, f: number) => void)(null, target.address, target.family),
      },
      (response) => {
        response.destroy(); // what it says besides is nothing to us
        resolve(response.statusCode ?? 0);
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
  if (status < 200 || status > 299) throw new Error(`${url.origin} answered ${status}`);
}

export class Deliveries {
  private readonly queue: Queue<Waiting>;
  private readonly worker: Worker<Waiting>;
  private readonly pipelines: Pipelines;
  private readonly rounds: Promise<void>;
  private stopped = false;

  constructor(
    private readonly jobs: Jobs,
    private readonly hooks: Webhooks,
    redisUrl: string,
    private readonly allowPrivate: boolean,
    private readonly log: (message: string) => void,
  ) {
    this.pipelines = new Pipelines(jobs);
    this.queue = openQueue(DELIVERIES, jobs.redis);
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
    this.rounds = this.listen();
  }

  private async attempt({ id, data }: Delivery<Waiting>): Promise<void> {
    const hook = (await this.hooks.all()).find((of) => of.id === data.hook);
    if (!hook) return; // removed meanwhile
    await deliver(hook, `msg_${id}`, JSON.stringify(data.message), this.allowPrivate);
  }

  private async listen(): Promise<void> {
    while (!this.stopped) {
      try {
        if (!(await this.round())) await Bun.sleep(ROUND_MS);
      } catch (error) {
        if (!this.stopped) this.log(`webhooks: ${messageOf(error)}`);
        await Bun.sleep(ROUND_MS);
      }
    }
  }

  /** Turns some entries into deliveries. False: there were none. */
  private async round(): Promise<boolean> {
    const { redis } = this.jobs;
    if (!(await redis.set(keys.outboxLock, process.pid, "PX", LOCK_MS, "NX"))) return false;
    try {
      const heard = await redis.get(keys.outboxHeard);
      const entries = await redis.xrange(keys.outbox, heard ? `(${heard}` : "-", "+", "COUNT", 100);
      for (const [entry, [, job = "", , status = ""]] of entries) await this.accept(entry, job, status);
      const last = entries.at(-1)?.[0];
      if (last) await redis.set(keys.outboxHeard, last);
      return entries.length > 0;
    } finally {
      await redis.del(keys.outboxLock);
    }
  }

  /** Safe to repeat: a delivery is known by what it tells of. */
  private async accept(entry: string, id: string, status: string): Promise<void> {
    const hooks = await this.hooks.all();
    if (hooks.length === 0) return;
    const timestamp = new Date(Number(entry.split("-")[0])).toISOString();
    const job = await this.jobs.record(id);
    if (!job) return; // deleted meanwhile
    const { type, name, metadata, pipeline, error } = job;
    const event = events[status];
    if (event) {
      const data = { ...{ id, type, name, status, metadata, pipeline }, error: status === "failed" ? error : null };
      await this.enqueue(hooks, { type: event, timestamp, data }, entry);
    }
    if (!pipeline || !(status in finished)) return;
    const whole = await this.pipelines.get(pipeline.id);
    if (!whole?.finishedAt) return;
    const { counts, results } = whole;
    const of = { id: whole.id, name: whole.name, status: whole.status, metadata: whole.metadata, counts, results };
    const key = `${whole.id}_${Date.parse(whole.finishedAt)}`;
    await this.enqueue(hooks, { type: "pipeline.finished", timestamp, data: of }, key);
  }

  private async enqueue(hooks: readonly SecretWebhook[], message: Message, key: string): Promise<void> {
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
