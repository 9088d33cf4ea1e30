/**
 * The page with many runs: `bun bench/page.ts [--runs 1000] [--rounds 7]`. A real run is trained and copied, so that each has
 * its record and its curve in the store; Redis keeps the newest 500 of them, as it does by default. Then, in turn with a
 * service that has one run: the page is opened by a browser that has seen nothing yet. Times count from the navigation, in
 * the browser's own clock: to the rows being there, to the last of their curves, and from a keystroke in the filter to the
 * rows that it leaves. The first line is the very first visit, for which the script is still to be built.
 */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openBrowser } from "../test/support/chromium.ts";
import { type Service, startService } from "../test/support/service.ts";

const { values } = parseArgs({
  options: { runs: { type: "string", default: "1000" }, rounds: { type: "string", default: "7" } },
});
const [runs, rounds] = [Number(values.runs), Number(values.rounds)];
const main = join(import.meta.dir, "../cli/main.ts");
const PAGE = 50;

/** A service of its own processes with so many finished runs, and no worker. */
async function serviceWith(count: number, port: number) {
  process.env.MOCOD_LOG = "error";
  const service = await startService();
  const { id } = await service.client.submit("pretrain", service.spec({ epochs: 3 }), "run 0");
  await service.until(id, ({ status }) => status === "succeeded");
  await service.stopWorker("SIGTERM");
  copyRun(service, id, count);
  const env = { ...process.env, REDIS_URL: service.redisUrl, MOCOD_DATA_DIR: service.dataDir, MOCOD_LOG: "error" };
  if (count > 1) await Bun.spawn([process.execPath, main, "store", "rebuild"], { env, stdout: "ignore" }).exited;
  const api = Bun.spawn([process.execPath, main, "serve", "--no-worker", "--port", String(port)], {
    env,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const url = `http://127.0.0.1:${port}`;
  while (!(await fetch(`${url}/readyz`).catch(() => undefined))?.ok) await Bun.sleep(50);
  const stop = async () => {
    api.kill("SIGTERM");
    await api.exited;
    await service.stop();
  };
  return { url, rows: Math.min(PAGE, count), stop };
}

/** Puts copies of a run into the store, each a second younger than the one before. */
function copyRun({ dataDir }: Service, id: string, count: number): void {
  const folder = join(dataDir, "runs", id);
  const job = JSON.parse(readFileSync(join(folder, "job.json"), "utf8"));
  for (let i = 1; i < count; i++) {
    const copy = `run_${id.slice(4, 14)}${i.toString(36).padStart(16, "0")}`;
    cpSync(folder, join(dataDir, "runs", copy), { recursive: true });
    const at = (time: string) => new Date(Date.parse(time) + i * 1000).toISOString();
    const times = { createdAt: at(job.createdAt), startedAt: at(job.startedAt), finishedAt: at(job.finishedAt) };
    const record = { ...job, ...times, id: copy, entry: `${copy}_1`, name: `run ${i}` };
    writeFileSync(join(dataDir, "runs", copy, "job.json"), JSON.stringify(record));
  }
}

const browser = await openBrowser("--disable-gpu");

/** Milliseconds of one visit, with nothing in the cache. */
async function visit({ url, rows }: { url: string; rows: number }) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 } });
  const page = await context.newPage();
  /** Resolves, to the browser's clock, with the frame that has so many of them. */
  const when = (selector: string, count: number) =>
    page.evaluate(
      ([what, wanted]) =>
        new Promise<number>((resolve) => {
          const look = () =>
            document.querySelectorAll(what).length === wanted
              ? resolve(performance.now())
              : requestAnimationFrame(look);
          look();
        }),
      [selector, count] as const,
    );
  await page.goto(url, { waitUntil: "commit" });
  const interactive = await when("tbody tr", rows);
  const curves = await when("tbody tr svg", rows);
  const typed = await page.evaluate(() => {
    const input = document.querySelector('input[type="search"]') as HTMLInputElement;
    input.value = "99";
    const now = performance.now();
    input.dispatchEvent(new Event("input", { bubbles: true }));
    return now;
  });
  const named = Array.from({ length: runs }, (_, i) => `run ${i}`).filter((name) => name.includes("99"));
  const filtered = await when("tbody tr", rows === 1 ? 0 : Math.min(PAGE, named.length));
  const longest = await page.evaluate(
    () =>
      new Promise<number>((resolve) => {
        new PerformanceObserver((list) =>
          resolve(Math.max(...list.getEntries().map(({ duration }) => duration))),
        ).observe({
          type: "longtask",
          buffered: true,
        });
        setTimeout(() => resolve(0), 200); // none was longer than 50 ms
      }),
  );
  await context.close();
  return { interactive, curves, filter: filtered - typed, longest };
}

type Visit = Awaited<ReturnType<typeof visit>>;
const print = (what: string, { interactive, curves, filter, longest }: Visit) => {
  const ms = (value: number) => `${value.toFixed(0)} ms`.padStart(9);
  console.log(`${what.padEnd(26)}${ms(interactive)}${ms(curves)}${ms(filter)}${ms(longest)}`);
};
const over = (visits: Visit[], of: (sorted: number[]) => number): Visit =>
  Object.fromEntries(
    (["interactive", "curves", "filter", "longest"] as const).map((name) => [
      name,
      of(visits.map((one) => one[name]).sort((a, b) => a - b)),
    ]),
  ) as unknown as Visit;

const [few, many] = [await serviceWith(1, 18_790), await serviceWith(runs, 18_791)];
try {
  console.log(`${"".padEnd(26)}${["rows", "curves", "filter", "longest"].map((name) => name.padStart(9)).join("")}`);
  print(`${runs} runs, first visit`, await visit(many));
  await visit(few);
  const seen = { few: [] as Visit[], many: [] as Visit[] };
  for (let round = 0; round < rounds; round++) {
    seen.few.push(await visit(few));
    seen.many.push(await visit(many));
  }
  for (const [name, visits] of [
    ["1 run", seen.few],
    [`${runs} runs`, seen.many],
  ] as const) {
    print(
      `${name}, median of ${rounds}`,
      over(visits, (sorted) => sorted[rounds >> 1] as number),
    );
    print(
      `${name}, worst`,
      over(visits, (sorted) => sorted.at(-1) as number),
    );
  }
} finally {
  await browser.close();
  await few.stop();
  await many.stop();
}
process.exit(0);
