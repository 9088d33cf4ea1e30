/** Where runs live: the same promises on a folder and on S3, also when the way there fails. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import type { Blobs } from "../../src/store/blobs.ts";
import { checkStore } from "../../src/store/check.ts";
import { FencedError, StoreError } from "../../src/store/errors.ts";
import { sha256 } from "../../src/store/files.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { openBlobs } from "../../src/store/open_blobs.ts";
import { type CheckpointRecord, expendable } from "../../src/store/retention.ts";
import { RunStore } from "../../src/store/run_store.ts";
import { S3Blobs } from "../../src/store/s3_blobs.ts";
import { machineId } from "../../src/util/machine.ts";
import { temporaryFolder } from "../support/helpers.ts";
import { type Fault, type S3, startS3 } from "../support/s3.ts";

const fast = { timeoutMs: 300, retries: { retries: 6, minTimeout: 10, maxTimeout: 50, randomize: true } };
const text = (bytes: Uint8Array | undefined) => bytes && new TextDecoder().decode(bytes);
const keepTwo = { keepLast: 2, keepBest: false, keepEvery: 0 };

let s3: S3;
beforeAll(async () => {
  s3 = await startS3();
  Object.assign(process.env, s3.variables);
});
afterAll(async () => {
  for (const name of Object.keys(s3.variables)) delete process.env[name];
  await s3.stop();
});

const folder = temporaryFolder();
afterAll(() => folder[Symbol.dispose]());
const kinds: [string, () => Blobs][] = [
  ["a folder", () => new LocalBlobs(join(folder.path, crypto.randomUUID()))],
  ["S3", () => new S3Blobs(`s3://runs/${crypto.randomUUID()}`, fast)],
];

describe.each(kinds)("%s", (_, open) => {
  test("reads what was written, lists it in order, knows folders, and forgets what was removed", async () => {
    const blobs = open();
    expect(await blobs.list("")).toEqual([]);
    expect(await blobs.folders("runs/")).toEqual([]);
    expect(await blobs.read("runs/b/job.json")).toBeUndefined();
    await blobs.write("runs/b/job.json", '{"ü": 1}');
    await blobs.write("runs/a/job.json", "{}");
    await blobs.write("runs/a/checkpoints/x", new Uint8Array(100_000).fill(7));
    await blobs.write("runs/a/empty", "");
    await blobs.write("runs/a/job.json", "[]");
    expect(text(await blobs.read("runs/b/job.json"))).toBe('{"ü": 1}');
    expect(text(await blobs.read("runs/a/job.json"))).toBe("[]");
    expect(await blobs.read("runs/a/empty")).toEqual(new Uint8Array());
    expect((await blobs.read("runs/a/checkpoints/x"))?.length).toBe(100_000);
    const all = ["runs/a/checkpoints/x", "runs/a/empty", "runs/a/job.json", "runs/b/job.json"];
    expect(await blobs.list("runs/")).toEqual(all);
    expect(await blobs.list("runs/a/j")).toEqual(["runs/a/job.json"]);
    expect([...(await blobs.sizes("runs/a/"))]).toEqual([
      ["runs/a/checkpoints/x", 100_000],
      ["runs/a/empty", 0],
      ["runs/a/job.json", 2],
    ]);
    expect(await blobs.folders("runs/")).toEqual(["a", "b"]);
    await blobs.remove("runs/b/job.json");
    await blobs.remove("runs/b/job.json");
    expect(await blobs.list("")).toEqual(all.slice(0, 3));
  });

  test("lists more than one page", async () => {
    const blobs = open();
    const names = Array.from({ length: 1100 }, (_, i) => `runs/x/${String(i).padStart(5, "0")}`);
    for (let i = 0; i < names.length; i += 50) await Promise.all(names.slice(i, i + 50).map((n) => blobs.write(n, "")));
    expect(await blobs.list("runs/")).toEqual(names);
  }, 60_000);

  test("checkpoints: damaged ones are skipped and logged, expendable ones are deleted, the rest is verified", async () => {
    const blobs = open();
    const run = new RunStore(blobs, "run_x");
    const save = (step: number) =>
      run.writeCheckpoint({ step, epoch: step, knn: null }, new Uint8Array(50).fill(step), keepTwo);
    for (const step of [1, 2, 3]) await save(step);
    expect((await run.checkpoints()).map(({ step }) => step)).toEqual([3, 2]);
    await run.writeJson("job.json", { status: "running" });
    const log: string[] = [];
    expect((await run.goodCheckpoint("last", (m) => log.push(m)))?.record.step).toBe(3);
    expect(await checkStore(blobs)).toEqual({ runs: 1, files: 5, damaged: [] });

    // One bit; then half of the file; then half of the record.
    const file = "runs/run_x/checkpoints/step-000000003.safetensors";
    const bytes = (await blobs.read(file)) as Uint8Array;
    await blobs.write(
      file,
      bytes.map((byte, i) => (i === 7 ? byte ^ 16 : byte)),
    );
    expect((await run.goodCheckpoint("last", (m) => log.push(m)))?.record.step).toBe(2);
    expect(log.join()).toContain("step-000000003.safetensors: wrong checksum, falling back to the previous checkpoint");
    await blobs.write(file, bytes.subarray(0, 20));
    expect((await run.goodCheckpoint("last"))?.record.step).toBe(2);
    expect((await checkStore(blobs)).damaged).toEqual([
      { run: "run_x", file: "checkpoints/step-000000003.safetensors", problem: expect.stringContaining("SHA-256") },
    ]);
    await blobs.write("runs/run_x/checkpoints/step-000000003.json", '{"file": "step-0');
    expect((await run.goodCheckpoint("last", (m) => log.push(m)))?.record.step).toBe(2);
    expect(log.at(-1)).toContain("is damaged");
    // A resume from step 2 deletes all of it.
    await run.tidy(2);
    expect(await run.names()).toEqual([
      "checkpoints/step-000000002.json",
      "checkpoints/step-000000002.safetensors",
      "job.json",
    ]);
    await blobs.write("runs/run_x/checkpoints/step-000000002.safetensors", "");
    expect(await run.goodCheckpoint("last", (m) => log.push(m))).toBeUndefined();
    expect(log.at(-1)).toContain("every checkpoint is damaged");
  });

  test("a finished run has the checksums of all its files, and a check finds one that was changed or deleted", async () => {
    const blobs = open();
    const run = new RunStore(blobs, "run_y");
    await run.writeCheckpoint({ step: 1, epoch: 1, knn: 0.5 }, new Uint8Array(9), keepTwo);
    await run.appendMetrics({ step: 1 });
    await run.writeSteps(1, [{ step: 1 }]);
    await run.writeFile("features.npy", new Uint8Array(5));
    await run.finish({ fine: true });
    await run.writeJson("job.json", { status: "succeeded" });
    expect((await checkStore(blobs)).damaged).toEqual([]);
    await blobs.write("runs/run_y/metrics.jsonl", '{"step":2}\n');
    await blobs.remove("runs/run_y/features.npy");
    const { damaged } = await checkStore(blobs);
    expect(damaged.map(({ file }) => file).sort()).toEqual(["features.npy", "metrics.jsonl"]);
  });

  test("a run is not finished over a checkpoint that was damaged since it was written", async () => {
    const blobs = open();
    const run = new RunStore(blobs, "run_d");
    const { file } = await run.writeCheckpoint({ step: 1, epoch: 1, knn: null }, new Uint8Array(9), keepTwo);
    await blobs.write(`runs/run_d/checkpoints/${file}`, new Uint8Array(9).fill(1));
    await expect(run.finish({})).rejects.toThrow(`${file}: was damaged after it had been written`);
    expect(await run.readJson("result.json")).toBeUndefined();
  });

  test("metrics: a line of a step that is done again replaces what was there from it on", async () => {
    const run = new RunStore(open(), "run_z");
    for (const step of [0, 4, 8, 4]) await run.appendMetrics({ step, at: step } as { step: number });
    expect(await run.readLines("metrics.jsonl")).toEqual([
      { step: 0, at: 0 },
      { step: 4, at: 4 },
    ]);
  });

  test("without leave nothing is published", async () => {
    const blobs = open();
    let asked = 0;
    const run = new RunStore(blobs, "run_f", async () => {
      if (++asked > 1) throw new FencedError("another's by now");
    });
    // Granted for the tensors, refused for the record that makes them a checkpoint.
    const of = { step: 1, epoch: 1, knn: null };
    await expect(run.writeCheckpoint(of, new Uint8Array(9), keepTwo)).rejects.toThrow(FencedError);
    await expect(run.appendMetrics({ step: 1 })).rejects.toThrow(FencedError);
    expect(await run.checkpoints()).toEqual([]);
    expect(await run.readLines("metrics.jsonl")).toEqual([]);
  });
});

describe("S3, when the way there fails", () => {
  const faults: Fault[] = ["refuse", "busy", "silent", "cut", "cutLate"];

  test.each(faults)(
    "%s: tried again until it works",
    async (fault) => {
      const blobs = new S3Blobs(`s3://runs/${fault}`, fast);
      let left = 0;
      s3.faults(() => (left-- > 0 ? fault : "pass"));
      for (const work of [
        () => blobs.write("a/b", "text"),
        () => blobs.read("a/b"),
        () => blobs.list(""),
        () => blobs.remove("a/b"),
      ]) {
        left = 2;
        await work();
        expect(left).toBeLessThan(0);
      }
      s3.faults(() => "pass");
      expect(await blobs.list("")).toEqual([]);
    },
    60_000,
  );

  test("given up after a while with an error that names the object; wrong credentials at once", async () => {
    const blobs = new S3Blobs("s3://runs/down", fast);
    s3.faults(() => "refuse");
    await expect(blobs.read("job.json")).rejects.toThrow(StoreError);
    await expect(blobs.write("job.json", "{}")).rejects.toThrow("s3://runs/down: put job.json: ");
    s3.faults(() => "pass");
    const nowhere = new S3Blobs("s3://no-such-bucket/x", fast);
    await expect(nowhere.write("job.json", "{}")).rejects.toThrow("NoSuchBucket");
  }, 60_000);

  test("a hundred checkpoints through a proxy that fails at a third of the requests: each is there, and right", async () => {
    // A third of the requests fail: seven tries are not enough once in two thousand.
    const patient = { ...fast, retries: { ...fast.retries, retries: 20 } };
    const run = new RunStore(new S3Blobs("s3://runs/storm", patient), "run_s");
    let seed = 1;
    s3.faults(() => {
      seed = (seed * 48271) % 2147483647;
      const cheap = faults.filter((f) => f !== "silent");
      return seed % 3 === 0 ? (cheap[seed % cheap.length] as Fault) : "pass";
    });
    const keep = { keepLast: 3, keepBest: false, keepEvery: 25 };
    for (let step = 1; step <= 100; step++) {
      await run.writeCheckpoint({ step, epoch: step, knn: null }, new Uint8Array(2000).fill(step), keep);
    }
    s3.faults(() => "pass");
    expect((await run.checkpoints()).map(({ step }) => step)).toEqual([100, 99, 98, 75, 50, 25]);
    for (const record of await run.checkpoints()) expect(await run.readCheckpoint(record)).toBeDefined();
    expect((await run.names()).length).toBe(12);
  }, 120_000);
});

describe("a folder", () => {
  test("sweeps away what a dead writer left half-written, and nothing of one that is alive", async () => {
    using own = temporaryFolder();
    const blobs = new LocalBlobs(own.path);
    const path = join(own.path, "runs/run_x/checkpoints");
    mkdirSync(path, { recursive: true });
    const dead = Bun.spawnSync(["true"]).pid;
    const names = [dead, process.pid].map((pid) => `.step-1.safetensors.${machineId()}.${pid}.00.tmp`);
    for (const name of names) writeFileSync(join(path, name), "half");
    expect(await blobs.list("runs/")).toEqual([]);
    await blobs.sweep("runs/run_x/");
    expect(readdirSync(path)).toEqual([names[1] as string]);
  });

  test("a full disk is an error that names the file and leaves no partial file; a later write succeeds", async () => {
    // A file size limit stands in for the disk: the same error path, and it needs no rights.
    using own = temporaryFolder();
    const program = `
      import { LocalBlobs } from ${JSON.stringify(join(import.meta.dir, "../../src/store/local_blobs.ts"))};
      process.on("SIGXFSZ", () => undefined);
      const blobs = new LocalBlobs(${JSON.stringify(own.path)});
      await blobs.write("runs/a/small", "fits");
      try { await blobs.write("runs/a/big", new Uint8Array(1 << 20)); } catch (e) { console.log(e.name, e.message); }
      await blobs.write("runs/a/small", "fits again");
    `;
    const script = join(own.path, "fill.ts");
    writeFileSync(script, program);
    const limited = Bun.spawnSync(["bash", "-c", `ulimit -f 100; exec ${process.execPath} ${script}`]);
    expect(limited.stdout.toString()).toMatch(/^StoreError runs\/a\/big: EFBIG/);
    expect(readdirSync(join(own.path, "runs/a"))).toEqual(["small"]);
    expect(readFileSync(join(own.path, "runs/a/small"), "utf8")).toBe("fits again");
  });
});

test("a URL opens what it names, and a wrong one is refused", () => {
  expect(openBlobs("file:///tmp/x")).toBeInstanceOf(LocalBlobs);
  expect(openBlobs("s3://bucket/prefix")).toBeInstanceOf(S3Blobs);
  expect(() => openBlobs("ftp://x")).toThrow("file:///folder or s3://bucket/prefix");
});

describe("retention", () => {
  const record = (step: number, epoch: number | null, knn: number | null = null): CheckpointRecord => ({
    step,
    epoch,
    knn,
    file: `step-${step}`,
    sha256: sha256(new Uint8Array()),
    bytes: 0,
  });
  const keep = { keepLast: 2, keepBest: true, keepEvery: 4 };
  const steps = (records: readonly CheckpointRecord[]) => records.map(({ step }) => step);

  test("the last ones, the best one, every fourth; one between two epochs only while it is the newest", () => {
    const epochs = [1, 2, 3, 4, 5, 6, 7].map((e) => record(10 * e, e, e === 2 ? 0.9 : 0.5));
    expect(steps(expendable(epochs, keep))).toEqual([50, 30, 10]);
    expect(steps(expendable([...epochs, record(75, null)], keep))).toEqual([50, 30, 10]);
    expect(steps(expendable([record(5, null), record(7, null), record(10, 1)], keep))).toEqual([7, 5]);
    expect(steps(expendable([record(3, null), record(5, null), record(7, null)], keep))).toEqual([3]);
  });

  test("never the newest, never all; and what a run leaves does not depend on when it was interrupted", () => {
    const settings = fc.record({
      keepLast: fc.integer({ min: 1, max: 4 }),
      keepBest: fc.boolean(),
      keepEvery: fc.nat({ max: 5 }),
    });
    const scores = fc.array(fc.option(fc.integer({ min: 0, max: 5 })), { minLength: 1, maxLength: 15 });
    const stops = fc.array(fc.nat({ max: 149 }), { maxLength: 12 });
    fc.assert(
      fc.property(settings, scores, stops, (chosen, knns, between) => {
        const run = (extra: readonly number[]) => {
          let kept: CheckpointRecord[] = [];
          const all = knns.map((knn, i) => record(10 * (i + 1), i + 1, knn));
          for (const step of extra) if (step % 10 !== 0 && step < 10 * knns.length) all.push(record(step, null));
          for (const next of all.sort((a, b) => a.step - b.step)) {
            if (kept.some(({ step }) => step === next.step)) continue;
            kept.push(next);
            const deleted = new Set(expendable(kept, chosen));
            expect(deleted.has(next)).toBe(false);
            kept = kept.filter((r) => !deleted.has(r));
          }
          return steps(kept);
        };
        expect(run(between)).toEqual(run([]));
      }),
    );
  });
});
