/** Answers what a run would take, in a child of its own, beside the job in hand. */
import { Worker } from "bullmq";
import type { Logger } from "pino";
import { PLANS, type Planned } from "../src/queue/plans.ts";
import { connect } from "../src/queue/redis.ts";
import { telemetry } from "../src/queue/telemetry.ts";
import type { Plan } from "../src/spec/plan.ts";
import type { PretrainSpec } from "../src/spec/pretrain.ts";
import type { Env } from "../src/util/env.ts";
import { spawnChild } from "./attempt.ts";

/** Measuring takes some seconds; a dataset may have to be downloaded before. */
const LIMIT_MS = 90_000;

/** Throws where the child ends without an answer. */
async function planInChild(env: Env, spec: PretrainSpec): Promise<Plan | { refused: string }> {
  const { dataDir, datasetRoots, threads, device } = env;
  let answer: Plan | { refused: string } | undefined;
  let failed: string | undefined;
  const child = spawnChild((message, from) => {
    if (message.kind === "ready") from.send({ kind: "plan", spec, dataDir, datasetRoots, threads, device });
    else if (message.kind === "planned") answer = message.plan;
    else if (message.kind === "failed" && message.cause === "final") answer = { refused: message.message };
    else if (message.kind === "failed") failed = message.message;
    if (answer || failed !== undefined) from.kill("SIGKILL");
  });
  const limit = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  await child.exited;
  clearTimeout(limit);
  if (!answer) throw new Error(failed ?? `planning ended with ${child.signalCode ?? `code ${child.exitCode}`}`);
  return answer;
}

export interface Planner {
  close(): Promise<void>;
}

/** `busy`: whether a job is in hand, so that what is measured is slower than it will be. */
export function startPlanner(redisUrl: string, env: Env, id: string, busy: () => boolean, log: Logger): Planner {
  const worker = new Worker<{ spec: PretrainSpec }, Planned>(
    PLANS,
    async ({ data }) => {
      const before = busy();
      const answer = await planInChild(env, data.spec);
      return "refused" in answer ? answer : { plan: answer, worker: id, busy: before || busy() };
    },
    { connection: connect(redisUrl), concurrency: 1, telemetry, lockDuration: 2 * LIMIT_MS },
  );
  worker.on("error", (error) => log.warn({ error: error.message }, "plans"));
  // A question is not worth waiting for: whoever asked asks again.
  return { close: () => worker.close(true) };
}
