/** An exported encoder in a browser: Chrome's own WebGPU gives the features that WASM gives here. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { centreRow, ROW } from "../../src/data/view.ts";
import { startPosition } from "../../src/engine/metrics.ts";
import { trainedStats } from "../../src/engine/state.ts";
import { exportCheckpoint } from "../../src/exchange/export.ts";
import { parseSpec } from "../../src/schema/job.ts";
import { encodeCheckpoint } from "../../src/train/checkpoint.ts";
import { embed, openSession } from "../../src/train/session.ts";
import { Stream } from "../../src/util/random.ts";
import type { Request } from "../support/browser_page.ts";
import { openBrowser } from "../support/chromium.ts";
import { useTestDevice } from "../support/devices.ts";
import { relativeError, temporaryFolder, writeFashionLike } from "../support/helpers.ts";

test("a page embeds images with an exported encoder to the features of the service", async () => {
  await useTestDevice("wasm");
  using data = temporaryFolder();
  writeFashionLike(data.path, 60, 20);
  const spec = parseSpec("pretrain", {
    dataset: { kind: "fashion-mnist", path: data.path },
    encoder: { arch: "resnet18", stem: "imagenet", width: 8 },
    augmentation: { size: 32 },
    monitor: { holdout: 20, bank: 20, k: 5 },
    batchSize: 16,
    splits: 2,
    queueSize: 64,
  });
  const context = { cache: data.path, log: () => undefined };
  const session = await openSession(spec, { threads: 1, device: "wasm", context });
  const { model, dataset } = session;
  // Statistics as after training: those of a fresh encoder are 0 and 1, which would hide a mistake.
  const random = new Stream(3, "probe");
  const stats = trainedStats(model);
  for (const { name, offset, size } of model.trained.stats.entries) {
    const isMean = name.endsWith("running_mean");
    for (let i = 0; i < size; i++) stats[offset + i] = isMean ? random.normal() / 4 : random.uniform(0.5, 2);
  }
  const { test: images } = dataset;
  if (!images || !("pixels" in images)) throw new Error("the images are not held");
  const n = images.count;
  const expected = await embed(
    session,
    images,
    Int32Array.from({ length: n }, (_, i) => i),
    { what: "backbone" },
  );
  const checkpoint = encodeCheckpoint(model, startPosition(spec, ["queue"]));
  const [{ bytes: encoder }] = exportCheckpoint(checkpoint, "checkpoint", spec, "torchvision", "trained");
  session.engine.close();

  const rows = new Float32Array(n * ROW);
  for (let i = 0; i < n; i++) centreRow(rows, i * ROW, images.height, images.width, images.channels, 1);
  const built = await Bun.build({
    entrypoints: [join(import.meta.dir, "../support/browser_page.ts")],
    target: "browser",
  });
  const script = await (built.outputs[0] as Blob).text();
  const files: Record<string, [string, BodyInit]> = {
    "/": ["text/html", '<!doctype html><title>mocod</title><script type="module" src="/page.js"></script>'],
    "/page.js": ["text/javascript", script],
    "/encoder": ["application/octet-stream", new Uint8Array(encoder)],
    "/images": ["application/octet-stream", images.pixels.slice()],
    "/rows": ["application/octet-stream", rows],
  };
  using server = Bun.serve({
    port: 0,
    fetch(request) {
      const [type, body] = files[new URL(request.url).pathname] ?? [];
      return body === undefined
        ? new Response(null, { status: 404 })
        : new Response(body, { headers: { "content-type": type as string } });
    },
  });
  const browser = await openBrowser(
    "--enable-unsafe-webgpu",
    "--enable-features=Vulkan",
    "--use-webgpu-adapter=swiftshader",
  );
  try {
    const page = await browser.newPage();
    const problems: string[] = [];
    page.on("pageerror", (error) => problems.push(error.message));
    await page.goto(server.url.href);
    await page.waitForFunction("'embed' in globalThis");
    const { height, width, channels } = images;
    const request: Request = {
      encoder: "/encoder",
      images: "/images",
      rows: "/rows",
      spec: spec.encoder,
      mean: dataset.mean,
      std: dataset.std,
      sizes: { n, height, width, channels, size: spec.augmentation.size },
    };
    const got = await page.evaluate(
      (r) =>
        (globalThis as unknown as { embed: (r: unknown) => Promise<{ features: number[]; adapter: string }> }).embed(r),
      request,
    );
    expect(problems).toEqual([]);
    expect(got.adapter).toContain("swiftshader");
    expect(got.features.length).toBe(n * model.trained.features);
    expect(relativeError(got.features, expected)).toBeLessThan(1e-4);
  } finally {
    await browser.close();
  }
}, 120_000);
