/** Opens a queue of BullMQ: traced, and without error messages while Redis is unreachable. */
import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import { telemetry } from "./telemetry.ts";

export function openQueue<Data, Result = unknown>(name: string, redis: Redis): Queue<Data, Result, string> {
  const queue = new Queue<Data, Result, string>(name, { connection: redis, telemetry });
  queue.on("error", () => undefined); // the connection retries; see redis.ts
  return queue;
}
