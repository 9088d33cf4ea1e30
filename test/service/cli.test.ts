/** The command line as a person uses it: real processes, real files, a real Redis. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { createProgram } from "../../cli/program.ts";
import { decodeSafetensors } from "../../src/store/safetensors.ts";
import { useSwiftShader } from "../support/devices.ts";
import { eventually } from "../support/helpers.ts";
import { type Service, startService } from "../support/service.ts";

const main = join(import.meta.dir, "../../cli/main.ts");
let service: Service;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

/** Runs `mocod` in the service's folder. */
async function mocod(...args: string[]) {
  const child = Bun.spawn([process.execPath, main, ...args], {
    cwd: service.folder,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, MOCOD_DATA_DIR: service.dataDir, MOCOD_PORT: new URL(service.url).port },
  });
  const [out, errors] = await Promise.all(
    [child.stdout, child.stderr].map((stream) => new Response(stream as ReadableStream).text()),
  );
  return { code: await child.exited, out: (out as string).trim(), errors: errors as string };
}

test("plan: memory and time of a spec, for people and as JSON", async () => {
  writeFileSync(join(service.folder, "planned.json"), JSON.stringify(service.spec()));
  const { code, out } = await mocod("plan", "planned.json", "--threads", "2");
  expect(code).toBe(0);
  expect(out).toMatch(
    /\d+ images, \d+ epochs of \d+ steps.*\ndevice {2}WASM.*; 2 threads\nmemory {2}\d+ MB: 2 x .*\ntime {4}.* s a step/,
  );
  const json = JSON.parse((await mocod("plan", "planned.json", "--json")).out);
  expect(json.time.total).toBeGreaterThan(json.time.epoch);
  writeFileSync(join(service.folder, "bad.json"), JSON.stringify(service.spec({ batchSize: 3, splits: 2 })));
  // More than a thread of WASM has: told, though it cannot be run.
  const huge = { method: "simclr", batchSize: 1024, splits: 16, norm: "split", tapes: "kept", encoder: { width: 128 } };
  writeFileSync(join(service.folder, "huge.json"), JSON.stringify({ ...huge, dataset: { kind: "cifar10" } }));
  const told = await mocod("plan", "huge.json", "--memory", "--threads", "1", "--json");
  const { tapes, memory } = JSON.parse(told.out);
  expect([tapes, memory.thread > 2 ** 32]).toEqual(["kept", true]);
  const bad = await mocod("plan", "bad.json");
  expect(bad.code).toBe(1);
  expect(bad.errors).toContain("batchSize");
});

test("views: a contact sheet, the same each time it is drawn", async () => {
  writeFileSync(
    join(service.folder, "spec.json"),
    JSON.stringify(service.spec({ augmentation: { jitter: { probability: 0 } } })),
  );
  const { code, out } = await mocod("views", "spec.json", "--image", "17,3", "--epoch", "3-4");
  expect(code).toBe(0);
  expect(out).toContain("views.png");
  const png = join(service.folder, "views.png");
  const { width, height } = await sharp(png).metadata();
  const side = 28 * 4; // enlarged to be seen
  expect([width, height]).toEqual([4 + 3 * (side + 4), 4 + 4 * (side + 4)]);
  const first = readFileSync(png);
  await mocod("views", "spec.json", "--image", "17,3", "--epoch", "3-4");
  expect(readFileSync(png)).toEqual(first);
  // The first tile is the image itself: a bright bar whose row tells its class (17 is of class 7).
  const { data } = await sharp(png)
    .extract({ left: 4, top: 4, width: side, height: side })
    .resize(28, 28, { kernel: "nearest" })
    .greyscale()
    .raw()
    .toBuffer({ resolveWithObject: true });
  expect(data[20 * 28 + 14]).toBeGreaterThan(150);
  expect(data[3 * 28 + 14]).toBeLessThan(100);

  const beyond = await mocod("views", "spec.json", "--image", "260");
  expect([beyond.code, beyond.errors.trim()]).toEqual([1, "--image: Fashion-MNIST has images 0 to 259, got 260"]);
  const nonsense = await mocod("views", "spec.json", "--image", "all");
  expect(nonsense.errors.trim()).toBe('got "all", allowed: 3 or 3,5 or 3-6');
}, 60_000);

test("data check: a report, and exit code 1 where a file is broken", async () => {
  const folder = join(service.folder, "pictures", "cat");
  mkdirSync(folder, { recursive: true });
  await sharp({ create: { width: 9, height: 7, channels: 3, background: "#ff0000" } })
    .png()
    .toFile(join(folder, "a.png"));
  const good = await mocod("data", "check", "pictures");
  expect(good.code).toBe(0);
  expect(good.out).toContain("train: 1 images, 1 classes, 0 broken");
  expect(good.out).toContain("mean   1.0000, 0.0000, 0.0000");
  writeFileSync(join(folder, "b.png"), "no picture");
  const bad = await mocod("data", "check", "pictures", "--json");
  expect(bad.code).toBe(1);
  expect(JSON.parse(bad.out).train).toMatchObject({
    images: 1,
    sizes: { "9x7": 1 },
    broken: [expect.stringContaining("cat/b.png")],
  });
  expect((await mocod("data", "check", "nowhere")).errors.trim()).toBe("nowhere: is not there");
  expect((await mocod("data", "list")).out).toContain("fashion-mnist");
}, 60_000);

test("export of a run, and import of a checkpoint of PyTorch's that a probe works on", async () => {
  const job = await service.client.submit("pretrain", service.spec({ epochs: 1 }));
  await service.until(job.id, ({ status }) => status === "succeeded");
  const exported = await mocod("export", job.id, "--encoder", "key", "--out", "encoder.safetensors");
  expect(exported.out).toContain("torchvision, average encoder after step 15");
  const file = join(service.folder, "encoder.safetensors");
  const { tensors } = decodeSafetensors(new Uint8Array(readFileSync(file)), file);
  expect(tensors.get("layer4.0.bn2.running_var")?.shape).toEqual([32]);
  expect([...tensors.keys()].filter((name) => name.startsWith("fc."))).toEqual([]);
  expect((await mocod("export", job.id, "--format", "onnx")).code).toBe(0);
  expect(existsSync(join(service.folder, `${job.id}.onnx`))).toBe(true);
  expect((await mocod("export", "run_nothing")).errors).toContain("there is no run run_nothing");

  // Three channels, as the checkpoint has them.
  for (const split of ["train", "test"]) {
    for (let i = 0; i < (split === "train" ? 60 : 20); i++) {
      const path = join(service.folder, "rgb", split, i % 2 ? "warm" : "cold");
      mkdirSync(path, { recursive: true });
      const background = i % 2 ? { r: 255 - i, g: 40, b: 2 * i } : { r: 2 * i, g: 40, b: 255 - i };
      await sharp({ create: { width: 40, height: 40, channels: 3, background } })
        .png()
        .toFile(join(path, `${i}.png`));
    }
  }
  const rgb = (split: string) => join(service.folder, "rgb", split);
  const checkpoint = join(import.meta.dir, "../golden/moco_new.pth.tar");
  const imported = await mocod("import", checkpoint, "--dataset", rgb("train"), "--test", rgb("test"), "--size", "32");
  expect(imported.code).toBe(0);
  const run = await service.client.job(imported.out);
  expect(run).toMatchObject({ status: "succeeded", name: "moco_new.pth.tar", result: { imported: true, epochs: 3 } });
  const probe = await service.client.submit("linear-probe", { from: run.id, protocol: "paper", epochs: 4, lr: 1 });
  const { result } = await service.until(probe.id, ({ status }) => status === "succeeded");
  expect(result).toMatchObject({ protocol: "paper", testImages: 20, classes: ["cold", "warm"], step: 0 });
  expect((result as { top1: number }).top1).toBeGreaterThan(0.9); // by colour alone

  writeFileSync(join(service.folder, "hostile.pth.tar"), "cos\nsystem\n(U\x04evilt R.");
  const refused = await mocod("import", "hostile.pth.tar", "--dataset", rgb("train"));
  expect([refused.code, refused.errors.trim()]).toEqual([1, "hostile.pth.tar: is not a file of torch.save"]);
}, 120_000);

test("a spec that is not JSON, and one that is not there", async () => {
  writeFileSync(join(service.folder, "bad.json"), "{");
  expect((await mocod("submit", "pretrain", "bad.json")).errors).toContain("bad.json is neither YAML nor JSON");
  expect((await mocod("submit", "pretrain", "none.json")).errors.trim()).toBe("none.json: is not there");
}, 60_000);

test("devices: a software adapter is listed and never chosen; what there is computes rightly", async () => {
  useSwiftShader();
  const { code, out } = await mocod("devices", "--json");
  expect(code).toBe(0);
  const { devices, chosen } = JSON.parse(out);
  expect(devices).toMatchObject([
    {
      kind: "webgpu",
      adapter: { software: true, limits: { maxBufferSize: expect.any(Number) } },
      test: { right: true },
    },
    { kind: "wasm", threads: expect.any(Number), test: { right: true } },
  ]);
  for (const { test } of devices) expect(Math.min(test.gflops, test.gigabytes)).toBeGreaterThan(0);
  expect(chosen).toMatch(/^WASM: the only WebGPU adapter, .*, is no GPU$/);
}, 60_000);

test("a job by hand: submit, watch, jobs, show, logs, pull, pause, resume, rm; keys; an API that is not there", async () => {
  writeFileSync(join(service.folder, "job.json"), JSON.stringify(service.spec({ epochs: 2 })));
  const submitted = await mocod("submit", "pretrain", "job.json");
  const id = submitted.out;
  expect(id).toMatch(/^run_[0-9a-z]{26}$/);
  expect((await mocod("watch", id)).code).toBe(0);
  expect((await mocod("jobs", "--status", "succeeded")).out).toContain(`${id}  pretrain      succeeded   100%`);
  expect(JSON.parse((await mocod("jobs", "--json", "--limit", "1")).out)).toHaveLength(1);
  expect(JSON.parse((await mocod("show", id)).out)).toMatchObject({ id, status: "succeeded", result: { steps: 30 } });
  expect((await mocod("logs", id)).out).toMatch(/status {4}queued\n[\s\S]*status {4}succeeded$/);
  const pulled = await mocod("pull", id, "--out", "copy");
  expect(pulled.code).toBe(0);
  const folder = join(service.dataDir, "runs", id);
  for (const name of ["metrics.jsonl", "checkpoints/step-000000030.safetensors", "steps/epoch-000002.jsonl"]) {
    expect(readFileSync(join(service.folder, "copy", name))).toEqual(readFileSync(join(folder, name)));
  }
  const wrong = await mocod("pull", id, "nothing.bin");
  expect([wrong.code, wrong.errors]).toEqual([1, expect.stringContaining(`run ${id} has no nothing.bin; it has`)]);
  const refused = await mocod("resume", id);
  expect([refused.code, refused.errors]).toEqual([1, expect.stringContaining("the job is succeeded; resume is for")]);
  expect((await mocod("workers")).out).toMatch(/2 threads {2}mocod \d.* idle/);
  expect((await mocod("rm", id)).code).toBe(0);
  expect((await mocod("show", id)).errors).toContain(`there is no job ${id}`);

  const made = await mocod("keys", "create", "ci", "--scope", "read");
  expect(made.out).toMatch(/^mocod_[0-9a-f]{16}_[\w-]{43}$/);
  const listed = JSON.parse((await mocod("keys", "list", "--json")).out);
  expect(listed).toMatchObject([{ name: "ci", scope: "read" }]);
  expect((await mocod("jobs", "--api-key", made.out)).code).toBe(0);
  expect((await mocod("keys", "revoke", listed[0].id)).code).toBe(0);
  expect((await mocod("keys", "list")).out).toBe("");
  // That there is none left the API knows within seconds.
  await eventually(async () => (await mocod("jobs")).code === 0);

  const unreachable = await mocod("jobs", "--port", "1");
  expect([unreachable.code, unreachable.errors]).toEqual([
    1,
    expect.stringContaining("no API at http://127.0.0.1:1: start one"),
  ]);
}, 120_000);

test("flags make a spec, what differs from the preset is said; a sweep and a probe print their figures", async () => {
  writeFileSync(join(service.folder, "run.yaml"), JSON.stringify(service.spec({ epochs: 1 })));
  const submitted = await mocod(
    "submit",
    "pretrain",
    "run.yaml",
    "--set",
    "optimizer.lr=0.05",
    "--set",
    "seed=3",
    "--name",
    "by flags",
    "--metadata",
    "project=cells",
    "--priority",
    "5",
    "--json",
  );
  const job = JSON.parse(submitted.out);
  expect(job).toMatchObject({ name: "by flags", priority: 5, metadata: { project: "cells" } });
  expect(job.spec).toMatchObject({ seed: 3, optimizer: { lr: 0.05 } });
  expect(submitted.errors).toContain("preset small, but");
  expect(submitted.errors).toMatch(/optimizer\.lr +0\.05 \(0\.06\)/);
  expect((await mocod("submit", "pretrain", "run.yaml", "--set", "temperature")).errors.trim()).toBe(
    'got "temperature", allowed: field=value',
  );
  expect((await mocod("submit", "pretend")).errors).toContain('type: got "pretend", allowed: pretrain');

  const swept = await mocod(
    "sweep",
    "run.yaml",
    "--grid",
    "temperature=0.1,0.2",
    "--seeds",
    "0,1",
    "--judge",
    "knn",
    "--watch",
  );
  expect(swept.code).toBe(0);
  const [head, ...rows] = swept.out.split("\n");
  expect(head).toMatch(/^job +temperature +seeds +loss +knn +top1 +top5 +failed$/);
  expect(rows.length).toBe(4);
  expect(rows.filter((row) => /^knn +0\.[12] +2 .* ± /.test(row)).length).toBe(2);
  const judged = await mocod("probe", job.id, "--type", "knn", "--set", "k=5");
  expect(judged.out).toMatch(/^top-1 \d+\.\d\d, top-5 .*after step 15\n {2}untrained +top-1/);
  const failed = await mocod("probe", job.id, "--checkpoint", "7");
  expect([failed.code, failed.errors]).toEqual([
    1,
    expect.stringContaining('spec.checkpoint: got {"epoch":7}, allowed: "last", or one'),
  ]);
}, 120_000);

test("settings from a file, below variables and flags; what it does not know is named", async () => {
  const { port } = new URL(service.url);
  writeFileSync(join(service.folder, "other.yaml"), `port: ${port}\nredis-jobs: 10\n`);
  expect((await mocod("jobs", "--config", "other.yaml", "--limit", "1", "--json")).code).toBe(0);
  writeFileSync(join(service.folder, "wrong.yaml"), "ports: 1\n");
  expect((await mocod("jobs", "--config", "wrong.yaml")).errors).toMatch(
    /^wrong\.yaml: ports: no such setting; allowed/,
  );
  expect((await mocod("jobs", "--config", "none.yaml")).errors.trim()).toBe("none.yaml: is not there");
}, 30_000);

test("every command has examples and --json; the shell completes them", async () => {
  const program = createProgram();
  const leaves = program.commands.flatMap((command) => (command.commands.length > 0 ? command.commands : [command]));
  const names = program.commands.map((command) => command.name());
  for (const name of ["serve", "up", "submit", "probe", "sweep", "bench", "plan", "watch"])
    expect(names).toContain(name);
  for (const leaf of leaves.filter((command) => command.name() !== "complete")) {
    let help = "";
    leaf.configureOutput({
      writeOut: (text) => {
        help += text;
      },
    });
    leaf.outputHelp();
    expect([leaf.name(), help.includes("Example"), help.includes("--json")]).toEqual([leaf.name(), true, true]);
  }
  expect((await mocod("complete", "--", "sub")).out).toContain("submit");
  expect((await mocod("complete", "--", "jobs", "--status", "")).out).toContain("succeeded");
  expect((await mocod("complete", "bash")).out).toContain("bash completion for mocod");
}, 120_000);
