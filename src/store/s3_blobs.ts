/** A store in a bucket, through Bun's S3 client. Objects are written atomically; failed requests are retried. */
import { S3Client } from "bun";
import pRetry from "p-retry";
import { UserError } from "../util/errors.ts";
import type { Blobs } from "./blobs.ts";
import { StoreError } from "./errors.ts";

/** Errors that a retry cannot fix. */
const PERMANENT = new Set([
  "AccessDenied",
  "InvalidAccessKeyId",
  "SignatureDoesNotMatch",
  "NoSuchBucket",
  "ERR_S3_MISSING_CREDENTIALS",
  "ERR_S3_INVALID_ENDPOINT",
  "ERR_S3_INVALID_PATH",
]);
/** A request without an answer is repeated after this; large objects get more time, by `BYTES_PER_MS`. */
const TIMEOUT_MS = 20_000;
const BYTES_PER_MS = 1000;
/** 0.2 s, doubling up to 10 s: about half a minute in all. */
const RETRIES = { retries: 8, minTimeout: 200, maxTimeout: 10_000, randomize: true };
/** Larger objects are uploaded in parts, which the client retries by itself. */
const PART_BYTES = 64 * 2 ** 20;

const codeOf = (error: unknown): string => (error as { code?: string }).code ?? "";
const missing = (error: unknown): boolean => codeOf(error) === "NoSuchKey" || codeOf(error) === "ENOENT";

export interface S3Timing {
  readonly timeoutMs: number;
  readonly retries: typeof RETRIES;
}

/** Reads S3_* or AWS_* variables. Bun's client reads them too, but only once, at the start of the process. */
function credentials(env = process.env): Bun.S3Options {
  const variable = (name: string) => env[`S3_${name}`] ?? env[`AWS_${name}`];
  const given = {
    accessKeyId: variable("ACCESS_KEY_ID"),
    secretAccessKey: variable("SECRET_ACCESS_KEY"),
    sessionToken: variable("SESSION_TOKEN"),
    region: variable("REGION"),
    endpoint: variable("ENDPOINT"),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** Whether this process may sign requests. */
export const hasS3Credentials = (): boolean => {
  const { accessKeyId, secretAccessKey } = credentials();
  return accessKeyId !== undefined && secretAccessKey !== undefined;
};

export class S3Blobs implements Blobs {
  private readonly client: S3Client;
  private readonly prefix: string;

  constructor(
    readonly url: string,
    private readonly timing: S3Timing = { timeoutMs: TIMEOUT_MS, retries: RETRIES },
  ) {
    const [, bucket, folder = ""] = url.match(/^s3:\/\/([^/]+)\/?(.*?)\/?$/) ?? [];
    if (!bucket) throw new UserError(`MOCOD_STORE: got "${url}", allowed: s3://bucket/prefix`);
    this.client = new S3Client({ bucket, ...credentials() });
    this.prefix = folder && `${folder}/`;
  }

  read(key: string): Promise<Uint8Array | undefined> {
    return this.attempt(`get ${key}`, this.timing.timeoutMs * 10, async () => {
      try {
        return new Uint8Array(await this.client.file(this.prefix + key).arrayBuffer());
      } catch (error) {
        if (missing(error)) return undefined;
        throw error;
      }
    });
  }

  open(key: string): Promise<{ body: Blob; size: number; etag: string } | undefined> {
    return this.attempt(`head ${key}`, this.timing.timeoutMs, async () => {
      const body = this.client.file(this.prefix + key);
      try {
        const { size, etag } = await body.stat();
        return { body, size, etag };
      } catch (error) {
        if (missing(error)) return undefined;
        throw error;
      }
    });
  }

  /** Reads the bytes from `from` to `to`, exclusive. */
  readRange(key: string, from: number, to: number): Promise<Uint8Array> {
    return this.attempt(`get ${key}`, this.timing.timeoutMs + (to - from) / BYTES_PER_MS, async () =>
      this.client
        .file(this.prefix + key)
        .slice(from, to)
        .bytes(),
    );
  }

  async write(key: string, bytes: Uint8Array | string): Promise<void> {
    const limit = this.timing.timeoutMs + bytes.length / BYTES_PER_MS;
    // A copy: a request that timed out may still be sending the bytes when the caller reuses the buffer.
    const body = typeof bytes === "string" ? bytes : bytes.slice();
    await this.attempt(`put ${key}`, limit, async () => {
      await this.client.write(this.prefix + key, body as Uint8Array<ArrayBuffer>, { partSize: PART_BYTES, retry: 0 });
    });
  }

  async list(prefix: string): Promise<string[]> {
    return [...(await this.sizes(prefix)).keys()];
  }

  async sizes(prefix: string): Promise<Map<string, number>> {
    return this.listed(prefix, ({ size }) => Number(size));
  }

  /** ETags by key. */
  async tags(): Promise<Map<string, string>> {
    return this.listed("", ({ eTag }) => String(eTag));
  }

  private async listed<T>(
    prefix: string,
    of: (object: { size?: number; eTag?: string }) => T,
  ): Promise<Map<string, T>> {
    const pages = await this.pages({ prefix: this.prefix + prefix });
    const found = pages.flatMap(({ contents }) => contents ?? []);
    return new Map(
      found
        .map((object) => [object.key.slice(this.prefix.length), of(object)] as const)
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    );
  }

  async folders(prefix: string): Promise<string[]> {
    const whole = this.prefix + prefix;
    const pages = await this.pages({ prefix: whole, delimiter: "/" });
    return pages
      .flatMap(({ commonPrefixes }) => (commonPrefixes ?? []).map((found) => found.prefix.slice(whole.length, -1)))
      .sort();
  }

  async remove(key: string): Promise<void> {
    await this.attempt(`delete ${key}`, this.timing.timeoutMs, async () => {
      try {
        await this.client.delete(this.prefix + key);
      } catch (error) {
        if (!missing(error)) throw error;
      }
    });
  }

  /** Does nothing: partial objects are never visible. A lifecycle rule of the bucket can end aborted uploads. */
  async sweep(): Promise<void> {}

  private async pages(options: { prefix: string; delimiter?: string }) {
    const pages: Bun.S3ListObjectsResponse[] = [];
    for (let token: string | undefined; ; ) {
      const page = await this.attempt(`list ${options.prefix}`, this.timing.timeoutMs, () =>
        this.client.list({ ...options, ...(token !== undefined && { continuationToken: token }) }),
      );
      pages.push(page);
      token = page.nextContinuationToken;
      if (!page.isTruncated || token === undefined) return pages;
    }
  }

  /**
   * Makes a request, with retries.
   *
   * @throws StoreError when every retry has failed; UserError for an error that retries cannot fix.
   */
  private async attempt<T>(what: string, timeoutMs: number, request: () => Promise<T>): Promise<T> {
    try {
      return await pRetry(() => within(timeoutMs, request()), {
        ...this.timing.retries,
        shouldRetry: ({ error }) => !PERMANENT.has(codeOf(error)),
      });
    } catch (error) {
      const text = `${this.url}: ${what}: ${codeOf(error)} ${(error as Error).message}`;
      if (PERMANENT.has(codeOf(error))) throw new UserError(text, { cause: error });
      throw new StoreError(text, { cause: error });
    }
  }
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${Math.round(ms)} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Objects below `s3://bucket/prefix` as a dataset is read from them, with the credentials that a store there would have. */
export function openBucket(url: string, timing?: S3Timing) {
  const blobs = new S3Blobs(url, timing);
  return { list: () => blobs.tags(), read: (key: string) => blobs.read(key) };
}
