/** The OpenAPI document: whole, linted, with examples that are true; and what follows from it: the docs, the typed client. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import { type AppType, createApp } from "../../api/app.ts";
import { createClient } from "../../api/client.ts";
import * as examples from "../../api/examples.ts";
import { startApi } from "../../api/server.ts";
import { Feed } from "../../src/queue/events/feed.ts";
import { Importer } from "../../src/queue/imports/importer.ts";
import { Inspections } from "../../src/queue/inspections.ts";
import { Jobs } from "../../src/queue/jobs.ts";
import { Plans } from "../../src/queue/pipelines/plans.ts";
import { Sightings } from "../../src/queue/pipelines/sightings.ts";
import { connect, startEmbeddedRedis } from "../../src/queue/redis.ts";
import { Searches } from "../../src/queue/searches.ts";
import { ApiKeys } from "../../src/store/api_keys.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { Uploads } from "../../src/store/uploads.ts";
import { Webhooks } from "../../src/store/webhooks.ts";
import { readEnv } from "../../src/util/env.ts";
import { createLogger } from "../../src/util/logger.ts";
import { temporaryFolder } from "../support/helpers.ts";

interface Media {
  schema: object;
  example?: unknown;
}
interface Operation {
  operationId: string;
  summary: string;
  tags: string[];
  requestBody?: { content: Record<string, Media> };
  responses: Record<string, { content?: Record<string, Media> }>;
}
interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
}

const folder = temporaryFolder();
let redis: Awaited<ReturnType<typeof startEmbeddedRedis>>;
let api: Awaited<ReturnType<typeof startApi>>;
let text: string;
let document: Document;
beforeAll(async () => {
  redis = await startEmbeddedRedis(folder.path);
  api = await startApi(redis.url, readEnv({ MOCOD_DATA_DIR: folder.path, MOCOD_PORT: "0" }), createLogger("test"));
  text = await (await fetch(`${api.url}/openapi.json`)).text();
  document = JSON.parse(text) as Document;
}, 30_000);
afterAll(async () => {
  await api.stop();
  await redis.stop();
  folder[Symbol.dispose]();
});

const operations = () =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, operation })),
  );

test("every route is in it, and it has no other", async () => {
  const connection = connect(redis.url);
  const blobs = new LocalBlobs(folder.path);
  const jobs = new Jobs(connection, blobs, () => undefined);
  const feed = new Feed(
    connection,
    () => connect(redis.url),
    () => undefined,
  );
  const plans = new Plans(connection, () => connect(redis.url));
  const sightings = new Sightings(
    connection,
    () => connect(redis.url),
    () => undefined,
  );
  const inspections = new Inspections(connection, () => connect(redis.url));
  const searches = new Searches(connection, () => connect(redis.url));
  const uploads = new Uploads(blobs);
  const app: AppType = createApp({
    jobs,
    feed,
    plans,
    sightings,
    uploads,
    inspections,
    searches,
    importer: new Importer({
      pending: jobs.imports,
      uploads,
      allowPrivate: false,
      storeUrl: blobs.url,
      log: () => undefined,
    }),
    hooks: new Webhooks(blobs),
    apiKeys: new ApiKeys(blobs),
    guard: { requestsPerSecond: 0, loopback: true, webhookPrivate: false },
  });
  const routes = app.routes
    .filter(({ path, method }) => path.startsWith("/v1/") && method !== "ALL")
    .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)(\{[^}]*\})?/g, "{$1}")}`);
  expect(routes.length).toBeGreaterThan(20);
  expect(
    operations()
      .map(({ name }) => name)
      .sort(),
  ).toEqual([...new Set(routes)].sort());
  feed.close();
  await plans.close();
  await sightings.close();
  await inspections.close();
  await searches.close();
  await jobs.close();
  connection.disconnect();
});

test("a linter finds nothing in it", async () => {
  expect(document.openapi).toBe("3.1.0");
  const config = await createConfig({ extends: ["recommended"], rules: { "no-server-example.com": "off" } });
  const lint = async (source: string) =>
    (await lintFromString({ source, absoluteRef: "openapi.json", config })).map(
      ({ ruleId, message, location }) => `${ruleId} ${location[0]?.pointer}: ${message}`,
    );
  expect(await lint(text)).toEqual([]);
  expect(await lint(text.replace('"summary":"Show a job",', ""))).toEqual([
    expect.stringMatching(/^operation-summary /),
  ]);
});

test("every operation has an id, a summary, a tag, and an example of each body and answer", () => {
  const ids = operations().map(({ operation }) => operation.operationId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { name, operation } of operations()) {
    expect([name, operation.summary?.length > 5, operation.tags?.length]).toEqual([name, true, 1]);
    const bodies = [operation.requestBody, ...Object.values(operation.responses)];
    for (const media of bodies.flatMap((body) => Object.entries(body?.content ?? {}))) {
      expect([name, media[0], media[1].example !== undefined]).toEqual([name, media[0], true]);
    }
  }
});

test("the examples are accepted: a job, a pipeline, by the typed client", async () => {
  const mocod = createClient(api.url);
  const submitted = await mocod.v1.jobs.$post({ json: examples.submission, header: {} });
  expect(submitted.status).toBe(201);
  if (submitted.status !== 201) return;
  const job = await submitted.json();
  expect(job.spec).toEqual(examples.job.spec);
  expect([job.status, job.position, job.waitingFor]).toEqual(["queued", 1, "a worker: none is running"]);
  expect(Object.keys(examples.job).sort()).toEqual(Object.keys(job).sort());
  const seen = await mocod.v1.jobs[":id"].$get({ param: { id: job.id } });
  expect(seen.status === 200 && (await seen.json()).id).toBe(job.id);

  const made = await mocod.v1.pipelines.$post({ json: examples.pipeline, header: {} });
  expect(made.status).toBe(201);
  if (made.status !== 201) return;
  const pipeline = await made.json();
  expect(pipeline.jobs.length).toBe(2 * 3 * 3);
  expect(Object.keys(examples.seenPipeline).sort()).toEqual(Object.keys(pipeline).sort());
});

test("the docs are served from here, to anyone", async () => {
  const page = await fetch(`${api.url}/docs`);
  expect(page.status).toBe(200);
  const html = await page.text();
  for (const [, path] of html.matchAll(/(?:src|href)="([^"]+)"/g)) {
    if (path === "data:,") continue;
    expect(path?.startsWith("/docs/")).toBe(true);
    expect((await fetch(api.url + path)).status).toBe(200);
  }
});
