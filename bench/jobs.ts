/**
 * Many jobs: `bun bench/jobs.ts [--jobs 10000] [--seconds 20]`. So many jobs are queued and two workers pull; the API is
 * asked for single jobs and for lists all the while. Then what finished jobs take in Redis.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Jobs } from "../src/queue/jobs.ts";
import { keys } from "../src/queue/keys.ts";
import { connect } from "../src/queue/redis.ts";
import { parseSpec } from "../src/schema/job.ts";
import { LocalBlobs } from "../src/store/local_blobs.ts";
import { startService } from "../test/support/service.ts";

const { values } = parseArgs({
  options: { jobs: { type: "string", default: "10000" }, seconds: { type: "string", default: "20" } },
});
const [count, seconds] = [Number(values.jobs), Number(values.seconds)];
process.env.MOCOD_LOG = "error";
const service = await startService({ MOCOD_THREADS: "1", MOCOD_REDIS_JOBS: "50" });
const redis = connect(service.redisUrl);
const jobs = new Jobs(redis, new LocalBlobs(service.dataDir), console.error);
const used = async () => Number((await redis.info("memory")).match(/used_memory:(\d+)/)?.[1]);
const row = (name: string, value: string) => console.log(`${name.padEnd(52)} ${value}`);
const percentile = (list: number[], p: number) =>
  [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * p))] as number;

try {
  // One run so small that the workers take a new one every second or two.
  const spec = parseSpec("pretrain", service.spec({ epochs: 1 }));
  const before = await used();
  const startedAt = performance.now();
  const ids: string[] = [];
  for (let i = 0; i < count; i += 100) {
    const some = Array.from({ length: Math.min(100, count - i) }, () =>
      jobs.submissions.submit({ type: "pretrain", spec }),
    );
    for (const { id } of await Promise.all(some)) ids.push(id);
  }
  row(`${count} jobs submitted, each in the store`, `${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  row("Redis, a queued job", `${Math.round(((await used()) - before) / count)} bytes`);
  const second = Bun.spawn([process.execPath, join(import.meta.dir, "../cli/main.ts"), "worker"], {
    stdio: ["ignore", "ignore", "inherit"],
    env: {
      ...process.env,
      REDIS_URL: service.redisUrl,
      MOCOD_DATA_DIR: service.dataDir,
      MOCOD_THREADS: "1",
      MOCOD_DEVICE: "wasm",
    },
  });
  while ((await service.client.workers()).filter(({ job }) => job).length < 2) await Bun.sleep(100);

  const times: Record<string, number[]> = { get: [], "list of 100": [], "list of 1000": [] };
  const ask = async (name: string, path: string) => {
    const start = performance.now();
    const response = await fetch(service.url + path);
    await response.arrayBuffer();
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    (times[name] as number[]).push(performance.now() - start);
  };
  const until = performance.now() + seconds * 1000;
  for (let i = 0; performance.now() < until; i++) {
    await ask("get", `/v1/jobs/${ids[(i * 7919) % ids.length]}`);
    if (i % 4 === 0) await ask("list of 100", "/v1/jobs");
    if (i % 40 === 0) await ask("list of 1000", "/v1/jobs?limit=1000");
  }
  for (const [name, list] of Object.entries(times)) {
    const [half, p99] = [percentile(list, 0.5), percentile(list, 0.99)].map((ms) => ms.toFixed(1));
    row(`${name} (${list.length} times), two workers training`, `${half} ms median, ${p99} ms p99`);
  }
  row("jobs that the two have finished meanwhile", String(await jobs.records.count("succeeded")));
  second.kill("SIGTERM");
  await second.exited;
  await service.stopWorker("SIGTERM");

  // What a finished job takes: with its record, and after that is trimmed.
  const [done = ""] = await redis.zrange(keys.finished, 0, "0");
  const bytes = async (key: string) => Number((await redis.call("MEMORY", "USAGE", key)) ?? 0);
  const whole = (await bytes(keys.run(done))) + (await bytes(keys.events(done))) + (await bytes(keys.history(done)));
  row("Redis, a finished job with its record and events", `${whole} bytes`);
  const index = (await bytes(keys.index)) / (await redis.zcard(keys.index));
  const brief = (await bytes(keys.briefs)) / (await redis.hlen(keys.briefs));
  row(
    "Redis, a finished job that was trimmed",
    `${Math.round(2 * index + brief)} bytes (two indices, what lists need)`,
  );
} finally {
  await jobs.close();
  redis.disconnect();
  await service.stop();
}
process.exit(0);
