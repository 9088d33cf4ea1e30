/** Events of a job as SSE: every one, once, in order, whatever breaks in between. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { startApi } from "../../api/server.ts";
import { Client } from "../../cli/client.ts";
import { Feed } from "../../src/queue/events/feed.ts";
import { keys } from "../../src/queue/keys.ts";
import { connect } from "../../src/queue/redis.ts";
import { readEnv } from "../../src/util/env.ts";
import { createLogger } from "../../src/util/logger.ts";
import { serverEvents } from "../../src/util/sse.ts";
import { eventually } from "../support/helpers.ts";
import { type Service, startService } from "../support/service.ts";

let service: Service;
beforeAll(async () => {
  service = await startService();
}, 60_000);
afterAll(() => service.stop());

/** Ids of events from `last` on, to the end or to `count` of them. */
async function idsFrom(url: string, id: string, last: string, count = Number.POSITIVE_INFINITY): Promise<string[]> {
  const ids: string[] = [];
  const response = await fetch(`${url}/v1/jobs/${id}/events`, { headers: { "last-event-id": last } });
  for await (const { id: at } of serverEvents(response.body as ReadableStream<Uint8Array>)) {
    if (at) ids.push(at);
    if (ids.length >= count) break;
  }
  return ids;
}

test("a client that is dropped again and again, and an API that is restarted: nothing is lost, nothing comes twice", async () => {
  const settings = { MOCOD_DATA_DIR: service.dataDir };
  const log = createLogger("test");
  let api = await startApi(service.redisUrl, readEnv({ ...settings, MOCOD_PORT: "0" }), log);
  const { port } = new URL(api.url);
  const { id } = await service.client.submit("pretrain", service.spec({ epochs: 8 }));
  const dropped = (async () => {
    const ids: string[] = [];
    for (let last = "0"; ; last = ids.at(-1) ?? "0") {
      const some = await idsFrom(service.url, id, last, 3);
      ids.push(...some);
      if (some.length < 3) return ids;
    }
  })();
  // Follows the API through its restart.
  const steps: number[] = [];
  const followed = new Client(`http://127.0.0.1:${port}`).follow(id, ({ step }) => steps.push(step));
  for (let i = 0; i < 2; i++) {
    const before = steps.length;
    await eventually(async () => steps.length > before);
    await api.stop();
    api = await startApi(service.redisUrl, readEnv({ ...settings, MOCOD_PORT: port }), log);
  }
  expect((await followed).status).toBe("succeeded");
  const redis = connect(service.redisUrl);
  const all = await redis.xrange(keys.events(id), "-", "+");
  const expected = all.map(([at]) => at);
  const progress = all
    .filter(([, [, type]]) => type === "progress")
    .map(([, fields]) => JSON.parse(fields[3] as string));
  expect(expected.length).toBeGreaterThan(10);
  expect(await dropped).toEqual(expected);
  expect(steps).toEqual(progress.map(({ step }) => step));
  expect(await idsFrom(service.url, id, "0")).toEqual(expected);
  expect(await idsFrom(service.url, id, expected[4] as string)).toEqual(expected.slice(5));
  expect(await idsFrom(service.url, id, "nonsense\u00e4")).toEqual(expected);

  // What the stream has lost of its beginning the history still has, all but the progress.
  await redis.xtrim(keys.events(id), "MAXLEN", 3);
  const history = (await redis.lrange(keys.history(id), 0, -1)).map((text) => (JSON.parse(text) as { id: string }).id);
  const kept = expected.slice(-3);
  expect(await idsFrom(service.url, id, "0")).toEqual([...history.filter((at) => !kept.includes(at)), ...kept]);
  redis.disconnect();
  await api.stop();
}, 120_000);

test("any number of listeners share one connection to Redis, and leave no connection open", async () => {
  const redis = connect(service.redisUrl);
  const clients = async () => Number((await redis.info("clients")).match(/connected_clients:(\d+)/)?.[1]);
  const before = await clients();
  const [one, other] = [
    await service.client.submit("pretrain", service.spec({ epochs: 3000 })),
    await service.client.submit("pretrain", service.spec()),
  ];
  const streams = Array.from({ length: 100 }, (_, i) => idsFrom(service.url, i % 2 ? one.id : other.id, "0"));
  await eventually(async () => (await service.client.job(one.id)).status === "running");
  expect(await clients()).toBeLessThanOrEqual(before + 2);
  await service.client.cancel(other.id);
  await service.client.cancel(one.id);
  const heard = await Promise.all(streams);
  const distinct = new Set(heard.map((ids) => ids.join()));
  expect(distinct.size).toBe(2); // all listeners of a job have received the same
  redis.disconnect();
}, 60_000);

test("closing a listener before the reader has begun is no error, and the next one receives events", async () => {
  const redis = connect(service.redisUrl);
  const reader = connect(service.redisUrl);
  const said: string[] = [];
  const feed = new Feed(
    redis,
    () => reader,
    (message) => said.push(message),
  );
  (await feed.follow("run_left")).close();
  for (let i = 0; i < 3; i++) await reader.ping(); // what the reader asks by itself is answered before
  const listener = await feed.follow("run_next");
  await redis.xadd("mocod:run:run_next:events", "1-1", "type", "log", "data", '"heard"');
  const heard = await eventually(async () => {
    await listener.wait("0-0", 1000);
    return (await listener.after("0-0"))[0];
  });
  expect(heard).toMatchObject({ id: "1-1", data: '"heard"' });
  expect(said).toEqual([]);
  listener.close();
  feed.close();
  redis.disconnect();
});

test("listeners of many take turns: each has one within a round, and no tenth of it has many more than its share", async () => {
  const redis = connect(service.redisUrl);
  const feed = new Feed(
    redis,
    () => connect(service.redisUrl),
    () => undefined,
  );
  const listeners = await Promise.all(Array.from({ length: 100 }, () => feed.follow("run_many")));
  const ROUND = 1e6; // so long that the clock hardly advances during the test
  const turns = listeners.map((listener) => listener.untilTurn(ROUND));
  expect(Math.min(...turns)).toBeGreaterThan(0);
  expect(Math.max(...turns)).toBeLessThanOrEqual(ROUND);
  const tenths = Array.from(
    { length: 10 },
    (_, i) => turns.filter((t) => Math.ceil((10 * t) / ROUND) === i + 1).length,
  );
  expect(Math.max(...tenths)).toBeLessThanOrEqual(13);
  for (const listener of listeners) listener.close();
  feed.close();
  redis.disconnect();
});
