/**
 * Detects the capabilities of this worker. A child looks for a GPU, so that a driver that crashes does not end the
 * worker.
 */
import { hostname, totalmem } from "node:os";
import type { WorkerInfo } from "../src/queue/fleet.ts";
import type { Env } from "../src/util/env.ts";
import { messageOf } from "../src/util/errors.ts";
import { machineId } from "../src/util/machine.ts";
import { VERSION } from "../src/util/version.ts";
import { askChild } from "./attempt.ts";

async function device(env: Env): Promise<{ webgpu: boolean; name: string }> {
  if (env.device === "wasm") return { webgpu: false, name: "WASM, as asked for" };
  try {
    return await askChild({ kind: "probe", device: env.device }, (message) =>
      message.kind === "device" ? message : undefined,
    );
  } catch (error) {
    return { webgpu: false, name: `looking for a GPU ${messageOf(error)}` };
  }
}

/** Describes this worker for its heartbeats. */
export async function capabilities(env: Env): Promise<Omit<WorkerInfo, "seenAt" | "job">> {
  const { webgpu, name } = await device(env);
  const startedAt = new Date().toISOString();
  return {
    id: `${hostname()}-${process.pid}-${Date.parse(startedAt).toString(36)}`,
    host: hostname(),
    pid: process.pid,
    machine: machineId(),
    version: VERSION,
    device: webgpu ? name : name.startsWith("WASM") ? name : `WASM: ${name}`,
    webgpu,
    threads: env.threads,
    memory: totalmem(),
    startedAt,
  };
}
