/** A Redis that starts late, is misconfigured, or was left by a killed process. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { connect, embeddedRedisUrl, freePort, startEmbeddedRedis, waitUntilReady } from "../../src/queue/redis.ts";
import { writeAtomic } from "../../src/store/files.ts";
import { temporaryFolder } from "../support/helpers.ts";

test("a Redis that is down at start is waited for with a message", async () => {
  using folder = temporaryFolder();
  // A port that is free now: the server is started on it only after the wait has begun.
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  const redis = connect(`redis://127.0.0.1:${port}`);
  const said = Promise.withResolvers<string>();
  const ready = waitUntilReady(redis, said.resolve);
  expect(await said.promise).toMatch(new RegExp(`^waiting for Redis at 127\\.0\\.0\\.1:${port} …: .*ECONNREFUSED`));
  const server = Bun.spawn(["redis-server", "--port", String(port), "--save", "", "--dir", folder.path], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  await ready;
  redis.disconnect();
  server.kill();
  await server.exited;
}, 60_000);

test("one that wants another password is an error that says so", async () => {
  using folder = temporaryFolder();
  const embedded = await startEmbeddedRedis(folder.path);
  const admin = connect(embedded.url);
  await admin.config("SET", "requirepass", "secret");
  for (const url of [embedded.url, embedded.url.replace("//", "//:wrong@")]) {
    const redis = connect(url);
    await expect(waitUntilReady(redis, () => undefined)).rejects.toThrow(/refuses REDIS_URL's user and password: \w+/);
    redis.disconnect();
  }
  await admin.config("SET", "requirepass", "");
  admin.disconnect();
  await embedded.stop();
}, 60_000);

test("a port that another process binds first, and one that another's Redis has by now: never somebody else's Redis", async () => {
  using mine = temporaryFolder();
  using theirs = temporaryFolder();
  const other = await startEmbeddedRedis(theirs.path);
  const taken = Number(new URL(other.url).port);
  const ports = [taken, taken];
  const own = await startEmbeddedRedis(mine.path, async () => ports.shift() ?? freePort());
  expect(ports).toEqual([]);
  expect(own.url).not.toBe(other.url);
  await own.stop();
  await expect(startEmbeddedRedis(mine.path, async () => taken)).rejects.toThrow(/redis-server .*(port|code)/);
  // The port of a server that was killed is another's now.
  writeAtomic(join(mine.path, "redis", "running.json"), JSON.stringify({ url: other.url, owner: 2 ** 22 + 1 }));
  const again = await startEmbeddedRedis(mine.path);
  expect(again.url).not.toBe(other.url);
  await again.stop();
  const redis = connect(other.url);
  expect(await redis.ping()).toBe("PONG");
  redis.disconnect();
  await other.stop();
}, 60_000);

test("the embedded Redis persists, does not evict, and listens on loopback; another policy gets a warning", async () => {
  using folder = temporaryFolder();
  const first = await startEmbeddedRedis(folder.path);
  expect(embeddedRedisUrl(folder.path)).toBe(first.url);
  const redis = connect(first.url);
  const messages: string[] = [];
  await waitUntilReady(redis, (message) => messages.push(message));
  expect(messages).toEqual([]);
  await redis.config("SET", "maxmemory-policy", "allkeys-lru");
  await waitUntilReady(redis, (message) => messages.push(message));
  expect(messages.join()).toContain("maxmemory-policy allkeys-lru");
  await redis.set("kept", "yes");
  redis.disconnect();
  // A second one for the same folder is the first, and does not stop it.
  const again = await startEmbeddedRedis(folder.path);
  expect(again.url).toBe(first.url);
  await again.stop();
  // Left by a process that has died: adopted, and then stopped.
  writeAtomic(join(folder.path, "redis", "running.json"), JSON.stringify({ url: first.url, owner: 2 ** 22 + 1 }));
  const adopted = await startEmbeddedRedis(folder.path);
  expect(adopted.url).toBe(first.url);
  await adopted.stop();
  expect(embeddedRedisUrl(folder.path)).toBeUndefined();
  const second = await startEmbeddedRedis(folder.path);
  const later = connect(second.url);
  expect(await later.get("kept")).toBe("yes");
  later.disconnect();
  await second.stop();
}, 60_000);
