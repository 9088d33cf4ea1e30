/** The configuration of a process: validated environment variables. Flags of the command line set the same names. */
import { availableParallelism, homedir } from "node:os";
import { delimiter, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { UserError } from "./errors.ts";

const integer = (low: number, high: number) =>
  z.string().regex(/^\d+$/, "a whole number").transform(Number).pipe(z.int().min(low).max(high));

const schema = z.object({
  REDIS_URL: z.url({ protocol: /^rediss?$/, error: "redis://… or rediss://…" }).optional(),
  MOCOD_DATA_DIR: z.string().min(1).default(".mocod"),
  MOCOD_HOST: z.string().min(1).default("127.0.0.1"),
  MOCOD_PORT: integer(0, 65535).default(8787),
  MOCOD_THREADS: integer(1, 256).optional(),
  MOCOD_DEVICE: z.enum(["auto", "webgpu", "wasm"]).default("auto"),
  MOCOD_LOCK_SECONDS: integer(1, 3600).default(90),
  MOCOD_STORE: z
    .string()
    .regex(/^(file:\/\/\/|s3:\/\/.)/, "file:///folder or s3://bucket/prefix")
    .optional(),
  MOCOD_DATASET_ROOTS: z.string().optional(),
  MOCOD_STALL_MINUTES: z.coerce.number().gt(0).max(10_000).default(20),
  MOCOD_RATE_LIMIT: integer(0, 1_000_000).default(1000),
  MOCOD_API_KEY: z
    .string()
    .regex(/^mocod_/, "mocod_…, as `mocod keys create` printed it")
    .optional(),
  MOCOD_REDIS_JOBS: integer(0, 1_000_000).default(500),
  MOCOD_UPLOAD_LIMIT: z.coerce.number().gt(0).max(1e6).default(100),
  MOCOD_CACHE_LIMIT: z.coerce.number().gt(0).max(1e6).default(50),
  MOCOD_WEBHOOK_PRIVATE: z.enum(["0", "1"]).default("0"),
  MOCOD_IMPORT_PRIVATE: z.enum(["0", "1"]).default("0"),
});

/** Names of all variables. */
export const variables = Object.keys(schema.shape);

export interface Env {
  /** Unset: an embedded Redis in the data folder. */
  redisUrl: string | undefined;
  dataDir: string;
  host: string;
  port: number;
  threads: number;
  /** Device of workers; auto: a GPU where there is a real one. */
  device: "auto" | "webgpu" | "wasm";
  /** Duration of locks: a worker that does not renew its lock counts as dead. Shorter outages of Redis do no harm. */
  lockSeconds: number;
  /** Where runs are stored: file:///… (unset: the data folder) or s3://bucket/prefix. */
  storeUrl: string;
  /** Folders that datasets must be in; undefined: any folder that the worker can read. */
  datasetRoots: readonly string[] | undefined;
  /** Minutes without a step after which a job is killed, and resumed from its checkpoint. */
  stallMinutes: number;
  /** Requests per second that one client may make; 0: no limit. */
  requestsPerSecond: number;
  /** Key that the command line sends to the API. */
  apiKey: string | undefined;
  /** Number of finished jobs whose records stay in Redis; older ones are read from the store. */
  redisJobs: number;
  /** Bytes that all uploaded datasets may take in the store. The variable counts gigabytes. */
  uploadLimit: number;
  /** Bytes that copies of stored datasets and unpacked archives may take on a worker's machine. The variable counts gigabytes. */
  cacheLimit: number;
  /** Whether webhooks may go to loopback and private addresses. */
  webhookPrivate: boolean;
  /** Whether datasets may be imported from loopback and private addresses. */
  importPrivate: boolean;
}

/**
 * Reads the configuration. Empty variables count as unset.
 *
 * @throws UserError that names every invalid variable.
 */
export function readEnv(source: Record<string, string | undefined> = process.env): Env {
  const given = Object.fromEntries(Object.entries(source).filter(([, value]) => value !== ""));
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    const lines = parsed.error.issues.map((issue) => {
      const name = String(issue.path[0]);
      return `${name}: got ${JSON.stringify(given[name])}, allowed: ${issue.message}`;
    });
    throw new UserError(lines.join("\n"));
  }
  const env = parsed.data;
  const dataDir = resolve(env.MOCOD_DATA_DIR.replace(/^~(?=\/|$)/, homedir()));
  return {
    redisUrl: env.REDIS_URL,
    dataDir,
    storeUrl: env.MOCOD_STORE ?? pathToFileURL(dataDir).href,
    // The colon of s3:// is none between two roots.
    datasetRoots: env.MOCOD_DATASET_ROOTS?.split(delimiter === ":" ? /:(?!\/\/)/ : delimiter)
      .filter(Boolean)
      .map((root) => (root.startsWith("s3://") ? root : resolve(root))),
    stallMinutes: env.MOCOD_STALL_MINUTES,
    requestsPerSecond: env.MOCOD_RATE_LIMIT,
    apiKey: env.MOCOD_API_KEY,
    redisJobs: env.MOCOD_REDIS_JOBS,
    uploadLimit: env.MOCOD_UPLOAD_LIMIT * 1e9,
    cacheLimit: env.MOCOD_CACHE_LIMIT * 1e9,
    webhookPrivate: env.MOCOD_WEBHOOK_PRIVATE === "1",
    importPrivate: env.MOCOD_IMPORT_PRIVATE === "1",
    host: env.MOCOD_HOST,
    port: env.MOCOD_PORT,
    threads: env.MOCOD_THREADS ?? availableParallelism(),
    device: env.MOCOD_DEVICE,
    lockSeconds: env.MOCOD_LOCK_SECONDS,
  };
}
