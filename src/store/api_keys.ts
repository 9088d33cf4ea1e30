/**
 * API keys: `mocod_<id>_<secret>`. The store has a file for each, `keys/<id>.json`, with the secret's SHA-256 and never
 * the secret. Every API that shares the store accepts them, and rejects a revoked key within seconds.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { UserError } from "../util/errors.ts";
import type { Blobs } from "./blobs.ts";
import { JsonFolder } from "./json_folder.ts";

/** Each scope includes those before it. */
export const scopes = ["read", "submit", "admin"] as const;
export type Scope = (typeof scopes)[number];

export interface ApiKey {
  readonly id: string;
  readonly name: string;
  readonly scope: Scope;
  readonly createdAt: string;
}
interface StoredKey extends ApiKey {
  readonly sha256: string;
}

const TOKEN = /^mocod_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/;
/** Time for which an API may still accept a revoked key. */
const CACHE_MS = 2000;

const digest = (secret: string): Buffer => createHash("sha256").update(secret).digest();

/** Whether a scope includes another one. */
export const covers = (has: Scope, needed: Scope): boolean => scopes.indexOf(has) >= scopes.indexOf(needed);

export class ApiKeys {
  private readonly cache = new Map<string, { key: StoredKey | undefined; until: number }>();
  private any: { answer: boolean; until: number } | undefined;

  private readonly stored: JsonFolder<StoredKey>;

  constructor(blobs: Blobs) {
    this.stored = new JsonFolder(blobs, "keys");
  }

  /** Creates a key. The token is returned once, here, and cannot be read again. */
  async create(name: string, scope: Scope): Promise<{ key: ApiKey; token: string }> {
    const id = randomBytes(8).toString("hex");
    const secret = randomBytes(32).toString("base64url");
    const key: ApiKey = { id, name, scope, createdAt: new Date().toISOString() };
    await this.stored.write({ ...key, sha256: digest(secret).toString("hex") });
    return { key, token: `mocod_${id}_${secret}` };
  }

  /** Lists the keys, oldest first. */
  async list(): Promise<ApiKey[]> {
    const all = await this.stored.all();
    return all.map(({ sha256, ...key }) => key).sort((a, b) => a.createdAt.localeCompare(b.createdAt));
  }

  /**
   * Revokes a key.
   *
   * @throws UserError where there is no such key.
   */
  async revoke(id: string): Promise<void> {
    if (!/^[0-9a-f]{16}$/.test(id) || !(await this.stored.read(id))) throw new UserError(`there is no key ${id}`);
    await this.stored.remove(id);
  }

  /** Whether there is any key: the API requires one then. */
  async exist(): Promise<boolean> {
    if (!this.any || this.any.until < performance.now()) {
      this.any = { answer: (await this.stored.ids()).length > 0, until: performance.now() + CACHE_MS };
    }
    return this.any.answer;
  }

  /** Finds the key of a valid token; undefined for an invalid one. The comparison takes constant time. */
  async verify(token: string): Promise<ApiKey | undefined> {
    const [, id, secret] = token.match(TOKEN) ?? [];
    if (id === undefined || secret === undefined) return undefined;
    let found = this.cache.get(id);
    if (!found || found.until < performance.now()) {
      found = { key: await this.stored.read(id), until: performance.now() + CACHE_MS };
      if (this.cache.size > 10_000) this.cache.clear(); // guesses must not exhaust the memory
      this.cache.set(id, found);
    }
    const { key } = found;
    if (!key || !timingSafeEqual(digest(secret), Buffer.from(key.sha256, "hex"))) return undefined;
    const { sha256, ...open } = key;
    return open;
  }
}
