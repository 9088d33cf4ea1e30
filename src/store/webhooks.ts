/** Webhooks: where events go. The store has a file for each, `webhooks/<id>.json`, with the secret that signs. */
import { randomBytes } from "node:crypto";
import { newId } from "../util/id.ts";
import type { Blobs } from "./blobs.ts";

export const webhookEvents = [
  "job.running",
  "job.paused",
  "job.succeeded",
  "job.failed",
  "job.cancelled",
  "pipeline.finished",
] as const;
export type WebhookEvent = (typeof webhookEvents)[number];

export interface Webhook {
  readonly id: string;
  readonly url: string;
  readonly events: readonly WebhookEvent[];
  readonly createdAt: string;
}
export interface SecretWebhook extends Webhook {
  /** `whsec_` and base64, as Standard Webhooks has it. */
  readonly secret: string;
}

const FOLDER = "webhooks/";
/** A new one is heard of so late, by other APIs than the one that made it. */
const CACHE_MS = 5000;

export class Webhooks {
  private cache: { hooks: SecretWebhook[]; until: number } | undefined;

  constructor(private readonly blobs: Blobs) {}

  /** The secret is told once, here. */
  async create(url: string, events: readonly WebhookEvent[]): Promise<SecretWebhook> {
    const createdAt = new Date().toISOString();
    const hook = { id: newId("hook"), url, events, createdAt, secret: `whsec_${randomBytes(32).toString("base64")}` };
    await this.blobs.write(`${FOLDER}${hook.id}.json`, `${JSON.stringify(hook)}\n`);
    this.cache = undefined;
    return hook;
  }

  /** Oldest first. */
  async all(): Promise<SecretWebhook[]> {
    if (this.cache && this.cache.until > Date.now()) return this.cache.hooks;
    const files = await Promise.all((await this.blobs.list(FOLDER)).map((key) => this.blobs.read(key)));
    const hooks = files.flatMap((bytes) =>
      bytes ? [JSON.parse(new TextDecoder().decode(bytes)) as SecretWebhook] : [],
    );
    this.cache = { hooks, until: Date.now() + CACHE_MS };
    return hooks;
  }

  /** False where there is no such webhook. */
  async remove(id: string): Promise<boolean> {
    this.cache = undefined;
    if (!(await this.all()).some((hook) => hook.id === id)) return false;
    await this.blobs.remove(`${FOLDER}${id}.json`);
    this.cache = undefined;
    return true;
  }
}
