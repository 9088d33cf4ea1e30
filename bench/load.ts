/**
 * Load beside training: `bun bench/load.ts [--streams 1000] [--rate 500] [--seconds 20] [--rounds 5] [--threads 1]
 * [--nice 0]`, the API's niceness.
 * A worker trains; windows without and with load come in turn. The load: so many open event streams of the running job,
 * held by one process, and so many requests a second by autocannon (latencies corrected for coordinated omission), from
 * another. All of it, clients included, shares the cores of this machine. A third window tells what of the slowdown is the
 * machine's: as many loops that have nothing to do with mocod, all awake at the same moments, spin for the same shares of a
 * core as the processes of the load.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { connect } from "../src/queue/redis.ts";
import { writeFashionLike } from "../test/support/helpers.ts";
import { startService } from "../test/support/service.ts";

const { values } = parseArgs({
  options: {
    streams: { type: "string", default: "1000" },
    rate: { type: "string", default: "500" },
    seconds: { type: "string", default: "20" },
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: "1" },
    nice: { type: "string", default: "0" },
  },
});
const [streams, rate, seconds, rounds] = [values.streams, values.rate, values.seconds, values.rounds].map(Number) as [
  number,
  number,
  number,
  number,
];
process.env.MOCOD_LOG = "error";
const service = await startService({ MOCOD_THREADS: values.threads });
const main = join(import.meta.dir, "../cli/main.ts");
// An API of its own process: the one of startService lives in this one.
const serve = [process.execPath, main, "serve", "--no-worker", "--port", "18787"];
const api = Bun.spawn(["nice", "-n", values.nice, ...serve], {
  env: { ...process.env, REDIS_URL: service.redisUrl, MOCOD_DATA_DIR: service.dataDir },
  stdio: ["ignore", "ignore", "inherit"],
});
const url = "http://127.0.0.1:18787";
const redis = connect(service.redisUrl);
const redisPid = Number((await redis.info("server")).match(/process_id:(\d+)/)?.[1]);
redis.disconnect();
const row = (name: string, value: string) => console.log(`${name.padEnd(56)} ${value}`);

/** CPU seconds that a process has used. */
async function cpu(pid: number): Promise<number> {
  const fields = (await Bun.file(`/proc/${pid}/stat`).text()).split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

// Epochs of 300 steps: of four, a run has hundreds of lines of metrics in no time, and to ask for them would be most of the load.
const images = join(service.folder, "images-load");
writeFashionLike(images, 20_000, 40);

try {
  const { id } = await service.client.submit("pretrain", {
    ...service.spec({ epochs: 100_000, monitor: { everyEpochs: 0, holdout: 20 }, batchSize: 64, splits: 8 }),
    dataset: { kind: "fashion-mnist", path: images },
    encoder: { arch: "resnet10", stem: "cifar", width: 16 },
    dim: 128,
    queueSize: 2048,
  });
  await service.until(id, ({ progress }) => (progress?.step ?? 0) > 20);
  while (!(await fetch(`${url}/readyz`).catch(() => undefined))?.ok) await Bun.sleep(100);
  /** Steps a second over a window. */
  const pace = async (): Promise<number> => {
    const stepOf = async () => (await service.client.job(id)).progress?.step ?? 0;
    const [before, start] = [await stepOf(), performance.now()];
    await Bun.sleep(seconds * 1000);
    return ((await stepOf()) - before) / ((performance.now() - start) / 1000);
  };
  const [ratios, controls]: [number[], number[]] = [[], []];
  const median = (numbers: number[]) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1] as number;
  for (let round = 0; round < rounds; round++) {
    const quiet = await pace();
    const listeners = Bun.spawn(
      [process.execPath, join(import.meta.dir, "load_streams.ts"), `${url}/v1/jobs/${id}/events`, String(streams)],
      { stdout: "pipe", stdin: "pipe", stderr: "inherit" },
    );
    const reader = listeners.stdout.getReader();
    await reader.read(); // all are open
    await Bun.sleep(10_000); // and have heard what was said before
    const paths = [`/v1/jobs/${id}`, "/v1/jobs?limit=20", `/v1/jobs/${id}/metrics`, "/v1/workers"];
    const requests = paths.flatMap((path) => ["--request", path]);
    const cannon = Bun.spawn(
      [process.execPath, join(import.meta.dir, "load_requests.ts"), url, String(rate), String(seconds), ...requests],
      { stdout: "pipe", stderr: "inherit" },
    );
    const pids = [api.pid, redisPid, listeners.pid, cannon.pid];
    const used = await Promise.all(pids.map(cpu));
    const loaded = await pace();
    const shares = (await Promise.all(pids.map(cpu))).map((now, i) => (now - (used[i] as number)) / seconds);
    const told = JSON.parse(await new Response(cannon.stdout).text()) as Record<string, number>;
    listeners.stdin.end();
    const heard = JSON.parse(new TextDecoder().decode((await reader.read()).value)) as { open: number; events: number };
    await listeners.exited;
    const spinner = Bun.spawn([process.execPath, join(import.meta.dir, "load_spin.ts"), ...shares.map(String)]);
    const spun = await pace();
    spinner.kill();
    await spinner.exited;
    // The machine drifts: the quiet window after counts as much as the one before.
    const still = (quiet + (await pace())) / 2;
    ratios.push(loaded / still);
    controls.push(spun / still);
    const speeds = [still, loaded, spun].map((speed) => speed.toFixed(1));
    row(`round ${round + 1}: training, steps/s: alone, with load, beside loops`, speeds.join(" "));
    row(
      "  requests/s, p50, p99, longest (ms), not 2xx",
      `${told.rate} ${told.p50} ${told.p99} ${told.max} ${told.bad}`,
    );
    row("  event streams open, events heard in all", `${heard.open} ${heard.events}`);
    row(
      "  shares of a core: API, Redis, clients: streams, requests",
      shares.map((share) => share.toFixed(2)).join(" "),
    );
  }
  row("training with load : alone, median", median(ratios).toFixed(3));
  row("training beside loops : alone, median", median(controls).toFixed(3));
} finally {
  api.kill("SIGTERM");
  await api.exited;
  await service.stop();
}
process.exit(0);
