/** Answers the API's questions, each in a child of its own, concurrently with the current job. */
import { Worker } from "bullmq";
import type { Logger } from "pino";
import { INSPECTIONS, type Inspected, type Inspection } from "../src/queue/inspections.ts";
import { PLANS, type Planned, type PlanQuestion } from "../src/queue/pipelines/plans.ts";
import { type Seen, SIGHTINGS } from "../src/queue/pipelines/sightings.ts";
import { connect } from "../src/queue/redis.ts";
import { SEARCHES, type Search, type Searched } from "../src/queue/searches.ts";
import { telemetry } from "../src/queue/telemetry.ts";
import type { DatasetSpec } from "../src/schema/dataset.ts";
import type { MemoryPlan, Plan } from "../src/schema/plan.ts";
import type { Env } from "../src/util/env.ts";
import { askChild } from "./attempt.ts";
import type { FromChild } from "./protocol.ts";

/** Questions about datasets that are answered at a time: they wait for disks. */
const SIGHTED_AT_ONCE = 2;
/** A measurement takes some seconds, and may have to download a dataset first. */
const LIMIT_MS = 90_000;
/** Steps of a few images of a net that may be far larger than this machine's. */
const COMPUTED_MS = 240_000;
/** An inspection decodes every image, for as long as it goes on. */
const SILENT_MS = 600_000;

type Answer = { plan: Plan } | { memory: MemoryPlan } | { refused: string } | { failed: string };

function answerOf(message: FromChild): Answer | undefined {
  if (message.kind === "planned") return { plan: message.plan };
  if (message.kind === "planned memory") return { memory: message.plan };
  if (message.kind !== "failed") return undefined;
  return message.cause === "final" ? { refused: message.message } : { failed: message.message };
}

const sightingOf = (message: FromChild): { seen: Seen | null } | { failed: string } | undefined => {
  if (message.kind === "sighted") return { seen: message.sighting && { sighting: message.sighting } };
  if (message.kind !== "failed") return undefined;
  return message.cause === "final" ? { seen: { refused: message.message } } : { failed: message.message };
};

const inspectionOf = (message: FromChild): { inspected: Inspected } | { failed: string } | undefined => {
  if (message.kind === "inspected") return { inspected: null };
  if (message.kind !== "failed") return undefined;
  return message.cause === "final" ? { inspected: { refused: message.message } } : { failed: message.message };
};

const searchOf = (message: FromChild): Searched | { failed: string } | undefined => {
  if (message.kind === "found") return { images: message.images };
  if (message.kind !== "failed") return undefined;
  return message.cause === "final" ? { refused: message.message } : { failed: message.message };
};

export interface Planner {
  close(): Promise<void>;
}

/**
 * Starts to answer requests for plans, what is in datasets, at a glance or image by image, and searches.
 *
 * @param id - Of the worker.
 * @param busy - Whether a job is running, which makes the measurement slower.
 */
export function startPlanner(redisUrl: string, env: Env, id: string, busy: () => boolean, log: Logger): Planner {
  const { storeUrl, dataDir, datasetRoots, cacheLimit } = env;
  const where = { storeUrl, dataDir, datasetRoots, cacheLimit };
  const worker = new Worker<PlanQuestion, Planned>(
    PLANS,
    async ({ data }) => {
      const before = busy();
      const { threads, device } = env;
      const { spec, only } = data;
      const request = { kind: "plan", spec, only, where, threads, device } as const;
      const answer = await askChild(request, answerOf, only ? COMPUTED_MS : LIMIT_MS);
      if ("failed" in answer) throw new Error(answer.failed);
      return "plan" in answer ? { ...answer, worker: id, busy: before || busy() } : answer;
    },
    { connection: connect(redisUrl), concurrency: 1, telemetry, lockDuration: 2 * LIMIT_MS },
  );
  const sighter = new Worker<{ dataset: DatasetSpec }, Seen | null>(
    SIGHTINGS,
    async ({ data }) => {
      const answer = await askChild({ kind: "sight", dataset: data.dataset, where }, sightingOf, LIMIT_MS);
      if ("failed" in answer) throw new Error(answer.failed);
      return answer.seen;
    },
    { connection: connect(redisUrl), concurrency: SIGHTED_AT_ONCE, telemetry, lockDuration: 2 * LIMIT_MS },
  );
  const inspector = new Worker<Inspection, Inspected>(
    INSPECTIONS,
    async ({ data }) => {
      const answer = await askChild({ kind: "inspect", inspection: data, where }, inspectionOf, SILENT_MS, true);
      if ("failed" in answer) throw new Error(answer.failed);
      return answer.inspected;
    },
    { connection: connect(redisUrl), concurrency: 1, telemetry, lockDuration: 2 * LIMIT_MS },
  );
  const searcher = new Worker<Search, Searched>(
    SEARCHES,
    async ({ data }) => {
      const answer = await askChild({ kind: "search", search: data, where }, searchOf, LIMIT_MS);
      if ("failed" in answer) throw new Error(answer.failed);
      return answer;
    },
    { connection: connect(redisUrl), concurrency: 1, telemetry, lockDuration: 2 * LIMIT_MS },
  );
  searcher.on("error", (error) => log.warn({ error: error.message }, "searches"));
  worker.on("error", (error) => log.warn({ error: error.message }, "plans"));
  inspector.on("error", (error) => log.warn({ error: error.message }, "inspections"));
  sighter.on("error", (error) => log.warn({ error: error.message }, "datasets"));
  return {
    // Requests are not awaited: clients repeat them.
    async close() {
      await Promise.all([worker, sighter, inspector, searcher].map((one) => one.close(true)));
    },
  };
}
