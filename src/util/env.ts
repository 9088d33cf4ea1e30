/** The process's configuration: validated environment variables; CLI flags set the same names. */
import { availableParallelism, homedir } from "node:os";
import { resolve } from "node:path";
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
  MOCOD_LOCK_SECONDS: integer(1, 3600).default(30),
});

export interface Env {
  /** Undefined: an embedded Redis in the data folder. */
  redisUrl: string | undefined;
  dataDir: string;
  host: string;
  port: number;
  threads: number;
  /** What workers compute on; auto: a GPU where there is a real one. */
  device: "auto" | "webgpu" | "wasm";
  /** A worker that is silent for so long is taken for dead. */
  lockSeconds: number;
}

/** Throws UserError that names every bad variable. Empty variables count as unset. */
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
  return {
    redisUrl: env.REDIS_URL,
    dataDir: resolve(env.MOCOD_DATA_DIR.replace(/^~(?=\/|$)/, homedir())),
    host: env.MOCOD_HOST,
    port: env.MOCOD_PORT,
    threads: env.MOCOD_THREADS ?? availableParallelism(),
    device: env.MOCOD_DEVICE,
    lockSeconds: env.MOCOD_LOCK_SECONDS,
  };
}
