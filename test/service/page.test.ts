/** The page in a real browser, over real runs: what a person sees and does, by keyboard too, on a phone too. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { zipSync } from "fflate";
import type { Browser, Page } from "playwright-core";
import sharp from "sharp";
import type { Job } from "../../src/schema/job.ts";
import { ApiKeys } from "../../src/store/api_keys.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { PART_BYTES } from "../../src/store/uploads.ts";
import { openBrowser } from "../support/chromium.ts";
import { inRanges, serveFiles } from "../support/files_server.ts";
import { eventually, temporaryFolder, tinyPairs, writePairs } from "../support/helpers.ts";
import { type Service, startService } from "../support/service.ts";

const axe = readFileSync(join(import.meta.dir, "../../node_modules/axe-core/axe.min.js"), "utf8");
/** Where to leave pictures to be looked at, if anywhere. */
const PICTURES = process.env.MOCOD_PICTURES;

let service: Service;
let browser: Browser;
let run: string;
let errors: string[] = [];

beforeAll(async () => {
  service = await startService({ MOCOD_IMPORT_PRIVATE: "1" });
  const { client, until, spec } = service;
  const first = await client.submit("pretrain", spec({ epochs: 8 }), "bars, 8 epochs");
  run = first.id;
  await client.submit("pretrain", spec({ epochs: 8, optimizer: { lr: 0.01 } }), "bars, gentle");
  const probe = await client.submit("linear-probe", { from: run, epochs: 3 }, "how good is it");
  const broken = join(service.folder, "broken");
  mkdirSync(broken);
  for (let i = 0; i < 40; i++) writeFileSync(join(broken, `${i}.png`), "no image");
  await client.submit("pretrain", spec({ dataset: { kind: "folder", path: broken } }), "no images");
  await until(probe.id, (job) => job.status === "succeeded");
  browser = await openBrowser("--disable-gpu", "--disable-background-networking", "--no-first-run");
}, 120_000);
afterAll(async () => {
  await browser.close();
  await service.stop();
});

async function open(path: string, options: Parameters<Browser["newPage"]>[0] = {}): Promise<Page> {
  const page = await browser.newPage({ viewport: { width: 1200, height: 900 }, ...options });
  errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  await page.goto(service.url + path);
  return page;
}

/** Findings of axe that would keep somebody out. */
async function serious(page: Page): Promise<string[]> {
  // Not by a script element: the page's own policy forbids it, as it should.
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const { axe: checker } = window as unknown as {
      axe: { run(): Promise<{ violations: { impact: string; id: string; nodes: { html: string }[] }[] }> };
    };
    return (await checker.run()).violations.map(({ impact, id, nodes }) => [impact, id, nodes[0]?.html ?? ""]);
  });
  return found.filter(([impact]) => impact === "serious" || impact === "critical").map((line) => line.join(" "));
}

const picture = async (page: Page, name: string) => {
  if (PICTURES) await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: true });
};

test("the list: every run with its state; filters; curves of several over each other; nothing from elsewhere", async () => {
  const page = await open("/");
  const requests: string[] = [];
  page.on("request", (request) => requests.push(request.url()));
  await page.getByRole("link", { name: "bars, 8 epochs" }).waitFor();
  for (const name of ["bars, gentle", "how good is it", "no images"]) await page.getByRole("link", { name }).waitFor();
  await page.locator(".status", { hasText: "failed" }).waitFor();
  await page
    .getByRole("img", { name: /^loss from/ })
    .first()
    .waitFor();
  await page.getByLabel("compare bars, 8 epochs").check();
  await page.getByLabel("compare bars, gentle").check();
  await page.getByRole("img", { name: /Loss of 2 runs by step/ }).waitFor();
  await page.locator("canvas").waitFor();
  await picture(page, "list");
  expect(await serious(page)).toEqual([]);
  await page.getByLabel("Status").selectOption("failed");
  await page.getByRole("link", { name: "bars, 8 epochs" }).waitFor({ state: "detached" });
  expect(await page.getByRole("region", { name: "jobs" }).getByRole("row").count()).toBe(2);
  await page.getByLabel("Status").selectOption("");
  await page.getByLabel("Name contains").fill("GENTLE");
  await page.getByRole("link", { name: "bars, 8 epochs" }).waitFor({ state: "detached" });
  expect(requests.every((url) => url.startsWith(service.url))).toBe(true);
  expect(errors).toEqual([]);
  await page.close();
}, 60_000);

test("a run: figures, nine plots, checkpoints to download, log, spec; in the dark and on a phone", async () => {
  const page = await open(`/#/runs/${run}`);
  await page.getByRole("heading", { name: "bars, 8 epochs" }).waitFor();
  await eventually(async () => (await page.locator("canvas").count()) === 9);
  await page.getByText("epoch 8 of 8, step 120 of 120").waitFor();
  await page.getByRole("region", { name: "log" }).getByText("succeeded").waitFor();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByLabel("download the checkpoint of step 120").click(),
  ]);
  const [{ file = "" } = {}] = await service.client.checkpoints(run);
  const expected = readFileSync(join(service.dataDir, "runs", run, "checkpoints", file));
  expect(readFileSync((await download.path()) as string)).toEqual(expected);
  await picture(page, "run");
  expect(await serious(page)).toEqual([]);
  await page.emulateMedia({ colorScheme: "dark" });
  await picture(page, "run-dark");
  expect(await serious(page)).toEqual([]);
  expect(errors).toEqual([]);
  await page.close();

  const phone = await open(`/#/runs/${run}`, { viewport: { width: 380, height: 800 } });
  await eventually(async () => (await phone.locator("canvas").count()) === 9);
  const wide = await phone.evaluate(() => document.documentElement.scrollWidth);
  expect(wide).toBeLessThanOrEqual(380);
  await picture(phone, "run-phone");
  await phone.close();
}, 60_000);

test("a running job moves by itself, and is paused, resumed and cancelled by keyboard", async () => {
  const { id } = await service.client.submit("pretrain", service.spec({ epochs: 3000 }), "endless");
  await service.until(id, (job) => job.status === "running");
  const page = await open("/");
  await page.getByRole("link", { name: "endless" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "endless" }).waitFor();
  const step = async () => Number(((await page.locator("main").textContent()) ?? "").match(/step (\d+) of/)?.[1] ?? 0);
  const before = await eventually(step);
  await eventually(async () => (await step()) > before + 5);
  for (const [button, status] of [
    ["Pause", "paused"],
    ["Resume", "running"],
    ["Cancel", "cancelled"],
  ] as const) {
    await page.getByRole("button", { name: button }).focus();
    await page.keyboard.press("Enter");
    await page.locator(".status", { hasText: new RegExp(`^${status}$`) }).waitFor();
  }
  await page.getByRole("button", { name: "Retry" }).waitFor();
  expect(errors).toEqual([]);
  await page.close();
}, 60_000);

test("what it learned: a map is drawn, an image and its neighbours are chosen by pointer and by keyboard; a probe's confusion", async () => {
  const page = await open(`/#/runs/${run}`);
  await page.getByRole("button", { name: "Draw a map of its features" }).click();
  const map = page.getByRole("img", { name: /^240 images in a plane|^260 images in a plane/ });
  await map.waitFor({ timeout: 60_000 });
  const shown = page.getByRole("region", { name: "the image and its neighbours" });
  const first = await shown.getByRole("heading").first().textContent();
  await page.getByLabel("Image, by its place in the map").fill("7");
  await eventually(async () => (await shown.getByRole("heading").first().textContent()) !== first);
  expect(await shown.getByRole("button").count()).toBe(12);
  const seventh = await shown.getByRole("heading").first().textContent();
  const box = (await map.boundingBox()) as { x: number; y: number; width: number; height: number };
  // Somewhere along a diagonal there is another dot.
  for (let at = 0; at <= 1; at += 0.02) await page.mouse.move(box.x + at * box.width, box.y + at * box.height);
  for (let at = 0; at <= 1; at += 0.02) await page.mouse.move(box.x + at * box.width, box.y + (1 - at) * box.height);
  const pointed = await shown.getByRole("heading").first().textContent();
  await shown.getByRole("button").first().click();
  await eventually(async () => (await shown.getByRole("heading").first().textContent()) !== pointed);
  expect([seventh, pointed].every((text) => /^image \d+, [A-Z]/.test(text ?? ""))).toBe(true);
  await page.getByRole("combobox", { name: "Plane" }).selectOption("pca");
  await page.getByText(/of the variance lies in this plane/).waitFor();
  await page.getByAltText(/query view, its key view/).waitFor();
  await page.getByText(/^Preset small, but for \d+ fields$/).waitFor();
  await picture(page, "learned");
  expect(await serious(page)).toEqual([]);
  await page.goto(`${service.url}/#/`);
  await page.getByRole("link", { name: "how good is it" }).click();
  await page.getByRole("region", { name: "confusion matrix" }).getByRole("rowheader", { name: "Ankle boot" }).waitFor();
  await picture(page, "confusion");
  expect(await serious(page)).toEqual([]);
  expect(errors).toEqual([]);
  await page.close();
}, 120_000);

test("pairs: recall by epoch, both jobs from the run's page, a search by a sentence, an image and its texts; on a phone", async () => {
  const photos = join(service.folder, "pairs");
  await writePairs(photos, 64, 24);
  const { client, until } = service;
  const { id: from } = await client.submit("pretrain", tinyPairs(photos), "pairs");
  const shot = await client.submit("zero-shot", { from, classes: "dataset", templates: ["{}", "a {} bar"] }, "shot");
  const { id } = await client.submit("retrieval", { from }, "retrieval of pairs");
  await until(id, (job) => job.status === "succeeded", 90);
  await until(shot.id, (job) => job.status === "succeeded", 90);

  const page = await open(`/#/runs/${from}`);
  await page.getByRole("img", { name: /^Recall of held-out pairs: texts found by their images by epoch/ }).waitFor();
  await page.getByRole("link", { name: "Judge it by zero-shot" }).waitFor();
  await picture(page, "pairs");
  await page.getByRole("link", { name: "Judge it by retrieval" }).click();
  await page.getByRole("heading", { name: "New job" }).waitFor();
  expect(await page.getByLabel("Type").inputValue()).toBe("retrieval");
  await page.goto(`${service.url}/#/new?type=knn&from=${run}`);
  await eventually(async () => !(await page.getByLabel("Type").textContent())?.includes("retrieval"));

  await page.goto(`${service.url}/#/runs/${id}`);
  await page.getByRole("region", { name: "recall" }).getByRole("row", { name: "Among 24 texts 24 images" }).waitFor();
  const images = page.getByRole("region", { name: "images" });
  await eventually(async () => (await images.getByRole("button").count()) === 24);
  await page.getByLabel("Find images by a sentence").fill("a red bar");
  await page.keyboard.press("Enter");
  await images.getByRole("heading", { name: "Nearest to “a red bar”" }).waitFor({ timeout: 60_000 });
  const found = await client.search(id, "a red bar", 24);
  const first = images.getByRole("button").first();
  expect(await first.getAttribute("aria-label")).toStartWith(
    `image ${found[0]?.image}: ${found[0]?.texts.join(", ")}; cosine`,
  );
  const texts = page.getByRole("region", { name: "the image and its texts" });
  await images.getByRole("button").nth(3).focus();
  await page.keyboard.press("Enter");
  await texts.getByRole("heading", { name: `Image ${found[3]?.image}` }).waitFor();
  await texts
    .getByRole("listitem")
    .filter({ hasText: found[3]?.texts[0] as string })
    .first()
    .waitFor();
  await picture(page, "retrieval");
  expect(await serious(page)).toEqual([]);
  await page.getByLabel("or by a text of theirs").selectOption({ index: 2 });
  await eventually(async () => (await images.getByRole("button").count()) === 13);
  await page.goto(`${service.url}/#/runs/${shot.id}`);
  await page.getByText(/by the names of 4 classes alone \(chance: 25.0%\)/).waitFor();
  await page.getByRole("listitem").filter({ hasText: "a blue bar" }).waitFor();
  await picture(page, "zero-shot");
  expect(await serious(page)).toEqual([]);
  expect(errors).toEqual([]);
  await page.close();

  const phone = await open(`/#/runs/${id}`, { viewport: { width: 390, height: 800 } });
  await eventually(
    async () => (await phone.getByRole("region", { name: "images" }).getByRole("button").count()) === 24,
  );
  expect(await phone.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
  await picture(phone, "retrieval-phone");
  await phone.close();
}, 120_000);

test("images of one's own: chosen or dropped, uploaded, and what a worker found in them; an archive that is none", async () => {
  const page = await open("/#/new");
  const image = (red: number) =>
    sharp({ create: { width: 20, height: 20, channels: 3, background: { r: red, g: 90, b: 30 } } })
      .png()
      .toBuffer();
  const files: Record<string, Uint8Array> = {};
  for (let i = 0; i < 12; i++) for (const name of ["cat", "dog"]) files[`${name}/${i}.png`] = await image(10 * i);
  const archive = page.getByLabel("An archive");
  await archive.setInputFiles({ name: "broken.zip", mimeType: "application/zip", buffer: Buffer.from("no zip") });
  await page.getByText("broken.zip cannot be read").waitFor();
  await archive.setInputFiles({ name: "pets.zip", mimeType: "application/zip", buffer: Buffer.from(zipSync(files)) });
  await page.getByText("pets.zip: 22 images, 2 classes, 2 test images").waitFor();
  const id = await page.locator("#field-dataset\\.id").inputValue();
  expect(id).toMatch(/^ds_\w{26}$/);
  const report = page.getByRole("region", { name: "report of the dataset" });
  await report.getByText("cat (11), dog (11)").waitFor();
  const sheet = page.getByAltText("Images of the training part, evenly spread over the dataset");
  await eventually(() => sheet.evaluate((image) => (image as HTMLImageElement).naturalWidth === 5 * 64));
  await picture(page, "dataset");
  expect(await serious(page)).toEqual([]);
  expect((await service.client.dataset(id)).name).toBe("pets.zip");
  // A folder is packed on its way; the same images, so the same classes.
  using folder = temporaryFolder();
  for (const [name, bytes] of Object.entries(files)) {
    mkdirSync(join(folder.path, "pets", name, ".."), { recursive: true });
    writeFileSync(join(folder.path, "pets", name), bytes);
  }
  await page.getByLabel("A folder").setInputFiles(join(folder.path, "pets"));
  await page.getByText("pets: 22 images, 2 classes, 2 test images").waitFor();
  expect(await page.locator("#field-dataset\\.id").inputValue()).not.toBe(id);
  // The service imports a URL itself.
  const gate = Promise.withResolvers<void>();
  const server = serveFiles({
    "/large.zip": [
      zipSync({ "noise.bin": randomBytes(2 * PART_BYTES) }, { level: 0 }),
      async (bytes, request) => {
        if (!request.headers.get("range")?.startsWith("bytes=0-")) await gate.promise;
        return inRanges(bytes, request);
      },
    ],
    "/birds.zip": [zipSync({ "a/1.png": await image(1), "b/1.png": await image(2) }), inRanges],
  });
  const url = page.getByLabel("A URL (https");
  await url.fill(`${server.url}/none.zip`);
  await page.keyboard.press("Enter");
  await page.getByText("answered 404").waitFor();
  await url.fill(`${server.url}/birds.zip`);
  await page.getByRole("button", { name: "Import" }).click();
  await page.getByText(/birds\.zip: \d+ images, 2 classes/).waitFor();
  await url.fill("ftp://example.org/x.zip");
  await page.getByRole("button", { name: "Import" }).click();
  await page.getByText("url: an http or https URL without a user or password").waitFor();
  await url.fill(`${server.url}/large.zip`);
  await page.getByRole("button", { name: "Import" }).click();
  await page.getByText("8.4 MB of 16.8 MB").waitFor();
  await picture(page, "import");
  expect(await serious(page)).toEqual([]);
  await page.getByRole("button", { name: "Stop the import" }).click();
  await page.getByText("the import of large.zip was stopped").waitFor();
  gate.resolve();
  server.stop();
  await picture(page, "upload");
  expect(await serious(page)).toEqual([]);
  await page.close();
}, 120_000);

test("the form: fields from the schema, a wrong one is named, a plan as one types, the command beside it, and a fork", async () => {
  const page = await open("/#/new");
  await page.getByText("Choose a dataset below").waitFor();
  await page.locator("#field-dataset\\.kind").selectOption("fashion-mnist");
  await page.locator("#field-dataset\\.path").fill(join(service.folder, "images"));
  await page.locator("#field-temperature").fill("-1");
  await page.locator("#field-temperature-help").getByText("allowed: more than 0").waitFor();
  // The test's images are few.
  for (const [field, value] of [
    ["temperature", "0.15"],
    ["batchSize", "16"],
    ["splits", "4"],
    ["queueSize", "64"],
    ["epochs", "1"],
    ["encoder.width", "4"],
    ["monitor.holdout", "20"],
  ] as const) {
    await page.locator(`#field-${field.replace(".", "\\.")}`).fill(value);
  }
  await page.getByText(/^About .* of memory$/).waitFor({ timeout: 60_000 });
  await page.getByLabel("Name").fill("by the form");
  const command = (await page.getByRole("region", { name: "command" }).textContent()) ?? "";
  await picture(page, "new");
  expect(await serious(page)).toEqual([]);
  await page.getByRole("button", { name: "Submit" }).click();
  await page.getByRole("heading", { name: "by the form" }).waitFor();
  const { jobs } = await service.client.list({ name: "by the form" });
  const made = jobs[0] as Job;
  expect(made.spec).toMatchObject({ temperature: 0.15, batchSize: 16, epochs: 1, encoder: { width: 4 } });
  // The command does the same.
  const byHand = Bun.spawn(["sh", "-c", command], { stdout: "pipe", stderr: "ignore" });
  expect((JSON.parse(await new Response(byHand.stdout).text()) as Job).spec).toEqual(made.spec);

  await page.goto(`${service.url}/#/runs/${run}`);
  await page.getByRole("link", { name: "Fork" }).click();
  await page.getByRole("heading", { name: "Fork bars, 8 epochs" }).waitFor();
  await page.locator("#field-optimizer\\.lr").fill("0.01");
  await page.locator("#field-epochs").fill("10");
  await page.getByText(/120 steps are done already\./).waitFor({ timeout: 60_000 });
  await page.locator("#field-dim").fill("8");
  await page.getByRole("button", { name: "Submit" }).click();
  await page
    .locator("#field-dim-help")
    .getByText(/allowed: 16, as in the run that is forked/)
    .waitFor();
  await page.locator("#field-dim").fill("16");
  await page.getByLabel("Name").fill("a fork");
  await page.getByRole("button", { name: "Submit" }).click();
  await page.getByRole("heading", { name: "a fork" }).waitFor();
  const fork = (await service.client.list({ name: "a fork" })).jobs[0] as Job;
  expect([fork.forked?.from.id, (fork.spec as { optimizer: { lr: number } }).optimizer.lr]).toEqual([run, 0.01]);
  for (const job of (await service.client.list({ status: "queued" })).jobs) await service.client.cancel(job.id);
  await page.close();
}, 120_000);

test("pipelines: all of them, one with its table", async () => {
  const judged = { type: "knn", from: "pretrain", spec: { k: 5, baselines: false } };
  const { id } = await service.client.submitPipeline({
    name: "temperatures",
    jobs: { pretrain: { type: "pretrain", spec: service.spec({ epochs: 1 }) }, knn: judged },
    sweep: { grid: { "pretrain.temperature": [0.1, 0.2] }, seeds: [0, 1] },
  });
  const page = await open("/#/pipelines");
  await page.getByRole("link", { name: "temperatures" }).click();
  await page.getByRole("heading", { name: "temperatures" }).waitFor();
  await eventually(async () => (await service.client.pipeline(id)).finishedAt !== null, 90);
  const results = page.getByRole("region", { name: "results" });
  await results.getByText("±").first().waitFor();
  expect(await results.getByRole("row").count()).toBe(5);
  await picture(page, "pipeline");
  expect(await serious(page)).toEqual([]);
  expect(errors).toEqual([]);
  await page.close();
}, 120_000);

test("studies: those that are committed, each with its scales; a run with its table, claims and curves", async () => {
  const { id } = await service.client.runStudy({
    spec: {
      title: "Temperatures of a tiny run",
      question: "Is 0.1 better than 0.5?",
      paper: { citation: "no paper", setting: "made up", figures: { cold: { kNN: 59 }, warm: { kNN: 55.2 } } },
      pipeline: {
        jobs: { pretrain: { type: "pretrain", spec: service.spec({ epochs: 2 }) } },
        sweep: {
          points: { cold: { "pretrain.temperature": 0.1 }, warm: { "pretrain.temperature": 0.5 } },
          seeds: [0, 1],
        },
      },
      table: { columns: [{ name: "kNN", job: "pretrain", figure: "knn", unit: "percent" }] },
      plots: [{ title: "kNN of held-out images", x: "epoch", y: { job: "pretrain", metric: "knn" }, unit: "percent" }],
      claims: [{ better: "cold", than: "warm", in: "kNN", says: "a low temperature is better" }],
    },
  });
  const page = await open("/");
  await page.getByRole("link", { name: "Studies" }).click();
  const ablation = page.getByRole("region", { name: "The ablation of MoCo v2" });
  await ablation.getByText("4,000 images of Fashion-MNIST").waitFor();
  await ablation.getByLabel("Scale").selectOption("gpu");
  await ablation.getByText("CIFAR-10, ResNet-18").waitFor();
  expect(await page.getByRole("button", { name: /^Run / }).count()).toBe(8);
  await picture(page, "studies");
  expect(await serious(page)).toEqual([]);
  await page.getByRole("link", { name: "Temperatures of a tiny run" }).click();
  await page.getByRole("heading", { name: "Temperatures of a tiny run" }).waitFor();
  await eventually(async () => (await service.client.pipeline(id)).finishedAt !== null, 90);
  await page.getByText("(fewer than three seeds)").waitFor();
  const table = page.getByRole("region", { name: "table of the study" });
  await table.getByText("55.2").waitFor();
  await table.getByText("±").first().click();
  await table.getByText("seed 0:").first().waitFor();
  await page.locator("canvas").waitFor();
  await picture(page, "study");
  expect(await serious(page)).toEqual([]);
  // The report itself is a page, without a script.
  await page.goto(`${service.url}/v1/studies/${id}/report?format=html`);
  await page.getByRole("heading", { name: "Claims" }).waitFor();
  expect(await page.locator("svg circle").count()).toBe(2 * 3);
  expect(await page.evaluate(() => getComputedStyle(document.querySelector("table") as Element).borderCollapse)).toBe(
    "collapse",
  );
  await picture(page, "study-report");
  expect(errors).toEqual([]);
  await page.close();
  const started = await open("/#/studies");
  await started.getByRole("button", { name: "Run 12 jobs of Shuffling batch norm" }).click();
  await started.getByRole("heading", { name: "Shuffling batch norm" }).waitFor({ timeout: 60_000 });
  await started.getByRole("button", { name: "Cancel" }).click();
  await started.locator(".status", { hasText: /^failed$/ }).waitFor();
  expect(errors).toEqual([]);
  await started.close();
}, 120_000);

test("a service with keys asks for one, and opens with it", async () => {
  const keys = new ApiKeys(new LocalBlobs(service.dataDir));
  const { key, token } = await keys.create("page", "submit");
  await eventually(async () => (await fetch(`${service.url}/v1/jobs`)).status === 401);
  const page = await open("/");
  await page.getByRole("heading", { name: "This service asks for a key" }).waitFor();
  await page.getByLabel(/^Key/).fill(token);
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "bars, 8 epochs", exact: true }).waitFor();
  await page.close();
  await keys.revoke(key.id);
  await eventually(async () => (await fetch(`${service.url}/v1/jobs`)).status === 200);
}, 60_000);
