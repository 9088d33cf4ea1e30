/** A bucket, by Bun's S3 client. An object appears whole by nature; what can fail is the way there, which is retried. */
import { S3Client } from "bun";
import pRetry from "p-retry";
import { UserError } from "../util/errors.ts";
import type { Blobs } from "./blobs.ts";
import { StoreError } from "./errors.ts";

/** Answers that another try does not change. */
const FINAL = new Set([
  "AccessDenied",
  "InvalidAccessKeyId",
  "SignatureDoesNotMatch",
  "NoSuchBucket",
  "ERR_S3_MISSING_CREDENTIALS",
  "ERR_S3_INVALID_ENDPOINT",
  "ERR_S3_INVALID_PATH",
]);
/** A request that is silent for so long is made again; a large object has more time. */
const TIMEOUT_MS = 20_000;
const BYTES_PER_MS = 1000;
/** 0.2 s, doubling up to 10 s: about half a minute of trying. */
const RETRIES = { retries: 8, minTimeout: 200, maxTimeout: 10_000, randomize: true };
/** One request carries objects up to here; above it they go in parts, which the client retries by itself. */
const PART_BYTES = 64 * 2 ** 20;

const codeOf = (error: unknown): string => (error as { code?: string }).code ?? "";
const missing = (error: unknown): boolean => codeOf(error) === "NoSuchKey" || codeOf(error) === "ENOENT";

export interface S3Timing {
  readonly timeoutMs: number;
  readonly retries: typeof RETRIES;
}

/** S3_* or AWS_*, as Bun's client takes them; given here because it reads them once, at the start of the process. */
function credentials(env = process.env): Bun.S3Options {
  const of = (name: string) => env[`S3_${name}`] ?? env[`AWS_${name}`];
  const given = {
    accessKeyId: of("ACCESS_KEY_ID"),
    secretAccessKey: of("SECRET_ACCESS_KEY"),
    sessionToken: of("SESSION_TOKEN"),
    region: of("REGION"),
    endpoint: of("ENDPOINT"),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

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

  open(key: string): Promise<{ body: Blob; size: number } | undefined> {
    return this.attempt(`head ${key}`, this.timing.timeoutMs, async () => {
      const body = this.client.file(this.prefix + key);
      try {
        return { body, size: (await body.stat()).size };
      } catch (error) {
        if (missing(error)) return undefined;
        throw error;
      }
    });
  }

  async write(key: string, bytes: Uint8Array | string): Promise<void> {
    const limit = this.timing.timeoutMs + bytes.length / BYTES_PER_MS;
    // A copy: a request that was given up may still be under way when the caller writes something else there.
    const body = typeof bytes === "string" ? bytes : bytes.slice();
    await this.attempt(`put ${key}`, limit, async () => {
      await this.client.write(this.prefix + key, body as Uint8Array<ArrayBuffer>, { partSize: PART_BYTES, retry: 0 });
    });
  }

  async list(prefix: string): Promise<string[]> {
    const pages = await this.pages({ prefix: this.prefix + prefix });
    return pages.flatMap(({ contents }) => (contents ?? []).map(({ key }) => key.slice(this.prefix.length))).sort();
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

  /** Nothing half-written is ever seen; a bucket's own lifecycle rule ends uploads in parts that were given up. */
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

  /** Throws StoreError when every try has failed, UserError where trying is of no use. */
  private async attempt<T>(what: string, timeoutMs: number, request: () => Promise<T>): Promise<T> {
    try {
      return await pRetry(() => within(timeoutMs, request()), {
        ...this.timing.retries,
        shouldRetry: ({ error }) => !FINAL.has(codeOf(error)),
      });
    } catch (error) {
      const text = `${this.url}: ${what}: ${codeOf(error)} ${(error as Error).message}`;
      if (FINAL.has(codeOf(error))) throw new UserError(text, { cause: error });
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
