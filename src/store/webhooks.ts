/** Webhooks: the URLs that events are sent to. The store has a file for each, `webhooks/<id>.json`, with its secret. */
import { randomBytes } from "node:crypto";
import { newId } from "../util/id.ts";
import type { Blobs } from "./blobs.ts";
import { JsonFolder } from "./json_folder.ts";

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
  /** Signs the requests: `whsec_` and base64, as Standard Webhooks specifies. */
  readonly secret: string;
}

/** Delay after which other APIs know a new webhook. */
const CACHE_MS = 5000;

export class Webhooks {
  private cache: { hooks: SecretWebhook[]; until: number } | undefined;

  private readonly stored: JsonFolder<SecretWebhook>;

  constructor(blobs: Blobs) {
    this.stored = new JsonFolder(blobs, "webhooks");
  }

  /** Creates a webhook. The secret is returned once, here. */
  async create(url: string, events: readonly WebhookEvent[]): Promise<SecretWebhook> {
    const createdAt = new Date().toISOString();
    const hook = { id: newId("hook"), url, events, createdAt, secret: `whsec_${randomBytes(32).toString("base64")}` };
    await this.stored.write(hook);
    this.cache = undefined;
    return hook;
  }

  /** Reads all webhooks, oldest first. */
  async all(): Promise<SecretWebhook[]> {
    if (this.cache && this.cache.until > Date.now()) return this.cache.hooks;
    const hooks = await this.stored.all();
    this.cache = { hooks, until: Date.now() + CACHE_MS };
    return hooks;
  }

  /** Deletes a webhook; false where there is none. */
  async remove(id: string): Promise<boolean> {
    this.cache = undefined;
    if (!(await this.all()).some((hook) => hook.id === id)) return false;
    await this.stored.remove(id);
    this.cache = undefined;
    return true;
  }
}
