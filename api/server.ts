/** The API as a server: composes the application from Redis, the store and the settings. */
import type { Logger } from "pino";
import { Feed } from "../src/queue/events/feed.ts";
import { Importer } from "../src/queue/imports/importer.ts";
import { Inspections } from "../src/queue/inspections.ts";
import { Jobs } from "../src/queue/jobs.ts";
import { Plans } from "../src/queue/pipelines/plans.ts";
import { Sightings } from "../src/queue/pipelines/sightings.ts";
import { connect, waitUntilReady } from "../src/queue/redis.ts";
import { Searches } from "../src/queue/searches.ts";
import { Deliveries } from "../src/queue/webhooks/deliveries.ts";
import { ApiKeys } from "../src/store/api_keys.ts";
import { openBlobs } from "../src/store/open_blobs.ts";
import { PART_BYTES, Uploads } from "../src/store/uploads.ts";
import { Webhooks } from "../src/store/webhooks.ts";
import type { Env } from "../src/util/env.ts";
import { UserError } from "../src/util/errors.ts";
import { createApp } from "./app.ts";

const LOOPBACK = new Set(["127.0.0.1", "localhost", "::1", "[::1]"]);
/** Longer than any command of Redis takes. */
const ANSWER_MS = 5000;

export interface RunningApi {
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * Opens the API on `env.host:env.port` (0: any free port).
 *
 * @throws UserError where other machines can reach the address and there is no key.
 */
export async function startApi(redisUrl: string, env: Env, log: Logger): Promise<RunningApi> {
  const warn = (message: string) => log.warn(message);
  const patient = connect(redisUrl);
  await waitUntilReady(patient, warn);
  patient.disconnect();
  // While Redis is unreachable, requests are answered with 503 instead of waiting.
  const redis = connect(redisUrl, { commandTimeout: ANSWER_MS });
  const blobs = openBlobs(env.storeUrl);
  const jobs = new Jobs(redis, blobs, warn, env.redisJobs);
  const uploads = new Uploads(blobs, env.uploadLimit);
  const importer = new Importer({
    pending: jobs.imports,
    uploads,
    allowPrivate: env.importPrivate,
    storeUrl: env.storeUrl,
    log: warn,
  });
  // An API that died may have recorded an import in the store and not in Redis.
  await jobs.imports.rebuild();
  const stopHousekeeping = jobs.housekeeping.start(() => importer.resume());
  const apiKeys = new ApiKeys(blobs);
  const loopback = LOOPBACK.has(env.host);
  if (!loopback && !(await apiKeys.exist())) {
    throw new UserError(
      `MOCOD_HOST: got ${env.host}, which others can reach, and there is no key: make one with \`mocod keys create\``,
    );
  }
  const { requestsPerSecond, webhookPrivate } = env;
  const guard = { requestsPerSecond, loopback, webhookPrivate };
  const feed = new Feed(redis, () => connect(redisUrl), warn);
  const plans = new Plans(redis, () => connect(redisUrl));
  const sightings = new Sightings(redis, () => connect(redisUrl), warn);
  const inspections = new Inspections(redis, () => connect(redisUrl));
  const searches = new Searches(redis, () => connect(redisUrl));
  const hooks = new Webhooks(blobs);
  const { records, pipelines } = jobs;
  const deliveries = new Deliveries({
    redis,
    redisUrl,
    records,
    pipelines,
    hooks,
    allowPrivate: webhookPrivate,
    log: warn,
  });
  const app = createApp({
    jobs,
    feed,
    plans,
    sightings,
    uploads,
    importer,
    inspections,
    searches,
    hooks,
    apiKeys,
    guard,
  });
  const server = Bun.serve({
    hostname: env.host,
    port: env.port,
    maxRequestBodySize: 2 * PART_BYTES, // the limits of the app are lower, and answer with a problem
    fetch: (request, bun) => app.fetch(request, { server: bun }),
  });
  const url = `http://${env.host}:${server.port}`;
  log.info({ url }, "API ready");
  return {
    url,
    async stop() {
      await server.stop(true);
      feed.close();
      await Promise.all([plans.close(), sightings.close(), inspections.close(), searches.close()]);
      await importer.close();
      await deliveries.close();
      await stopHousekeeping();
      await jobs.close();
      redis.disconnect();
    },
  };
}
