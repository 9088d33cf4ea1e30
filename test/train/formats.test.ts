/**
 * What the version before left is still good: test/golden/format3 was made by its code (commit a6104d7).
 *
 *     spec.json, step-000000009.*   a run of 18 steps, stopped in the middle of its second epoch
 *     end.json                      SHA-256 of each tensor at its end, had that code gone on
 *     *.jsonl                       its metrics, of each epoch and of each step of the second; other jobs' specs
 */
import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { forkSpec } from "../../src/schema/fork.ts";
import { type JobType, parseStored } from "../../src/schema/job.ts";
import { decodeSafetensors } from "../../src/store/safetensors.ts";
import { finalFiles, resultOf, runTo, temporaryFolder, writeFashionLike } from "../support/helpers.ts";

const FIXTURE = join(import.meta.dir, "../golden/format3");
const CHECKPOINT = "step-000000009.safetensors";
const text = (name: string) => readFileSync(join(FIXTURE, name), "utf8");
const lines = (name: string) => text(name).trimEnd().split("\n");
const stored = JSON.parse(text("spec.json"));

/** A spec as the version before stored it, and as this one reads it. */
const specOf = (data: string) => parseStored("pretrain", { ...stored, dataset: { ...stored.dataset, path: data } });

/** The run's folder as the version before left it when it was stopped. */
function stoppedRun(folder: string): void {
  const run = join(folder, "runs/run_x");
  mkdirSync(join(run, "checkpoints"), { recursive: true });
  for (const name of [CHECKPOINT, "step-000000009.json"]) cpSync(join(FIXTURE, name), join(run, "checkpoints", name));
  // Of epoch 1, and of the encoder before it.
  writeFileSync(
    join(run, "metrics.jsonl"),
    lines("metrics.jsonl")
      .slice(0, 2)
      .map((line) => `${line}\n`)
      .join(""),
  );
}

test("the spec of a stored run is as it was; what is new in it is what it did", () => {
  expect("norm" in stored).toBe(false);
  expect<object>(parseStored("pretrain", stored)).toEqual({ ...stored, norm: "split" });
  expect<object>(forkSpec(stored, { epochs: 5 }, "state")).toEqual({ ...stored, norm: "split", epochs: 5 });
});

test("specs of the jobs on its encoders: query is the trained one, key the average", () => {
  const jobs = lines("jobs.jsonl").map((line) => JSON.parse(line) as { type: JobType; spec: { encoder?: string } });
  expect(jobs.length).toBe(10);
  const names: Record<string, string> = { query: "trained", key: "average" };
  for (const { type, spec } of jobs) {
    const blocks = ["fine-tune", "export"].includes(type) ? {} : { blocks: 1 };
    const now = type === "pretrain" ? { norm: "split" } : { encoder: names[spec.encoder as string], ...blocks };
    expect<object>(parseStored(type, spec)).toEqual({ ...spec, ...now });
    expect<object>(parseStored(type, parseStored(type, spec))).toEqual({ ...spec, ...now });
  }
});

test.each([1, 3])("its checkpoint goes on, and the run ends in the same bits: %p threads", async (threads) => {
  using data = temporaryFolder();
  writeFashionLike(data.path, 120, 20);
  using folder = temporaryFolder();
  stoppedRun(folder.path);
  const before = decodeSafetensors(new Uint8Array(readFileSync(join(FIXTURE, CHECKPOINT))), CHECKPOINT);
  expect(before.metadata.format).toBe("mocod-checkpoint-3");
  expect(JSON.parse(before.metadata.position as string)).toMatchObject({ step: 9, queuePointer: 24 });

  const result = resultOf(await runTo(specOf(data.path), folder.path, { threads, device: "wasm" }));
  expect(result.steps).toBe(18);
  const [bytes, metrics] = finalFiles(folder.path, result);
  const { tensors, metadata } = decodeSafetensors(new Uint8Array(bytes), result.checkpoint.file);
  const shapes = (of: typeof tensors) => Object.fromEntries([...of].map(([name, { shape }]) => [name, [...shape]]));
  expect(shapes(tensors)).toEqual(shapes(before.tensors));
  const sums = [...tensors].map(([name, { data }]) => {
    const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return [name, createHash("sha256").update(raw).digest("base64")];
  });
  expect(Object.fromEntries(sums)).toEqual(JSON.parse(text("end.json")));
  expect(JSON.parse(metadata.position as string)).toMatchObject({ step: 18, pointers: { queue: 8 } });

  // Its epochs are continued as if nothing had been: the second one's figures are those of both versions' steps.
  expect(
    metrics
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line)),
  ).toEqual(lines("metrics.jsonl").map((line) => JSON.parse(line)));
  expect(readFileSync(join(folder.path, "runs/run_x/steps/epoch-000002.jsonl"), "utf8")).toBe(
    text("epoch-000002.jsonl"),
  );
});

test("a fork of it: its state or its weights are the start of another run", async () => {
  using data = temporaryFolder();
  writeFashionLike(data.path, 120, 20);
  for (const keep of ["state", "weights"] as const) {
    using folder = temporaryFolder();
    const run = join(folder.path, "runs/run_x");
    mkdirSync(run, { recursive: true });
    cpSync(join(FIXTURE, CHECKPOINT), join(run, "start.safetensors"));
    const { sha256 } = JSON.parse(text("step-000000009.json"));
    writeFileSync(join(run, "start.json"), JSON.stringify({ from: { id: "run_y", step: 9 }, keep, sha256 }));
    const result = resultOf(await runTo(specOf(data.path), folder.path, { threads: 2, device: "wasm" }));
    const [bytes] = finalFiles(folder.path, result);
    const { tensors } = decodeSafetensors(new Uint8Array(bytes), result.checkpoint.file);
    const sums = JSON.parse(text("end.json"));
    for (const name of ["module.queue", "module.encoder_k.fc.2.bias"]) {
      const sum = createHash("sha256")
        .update(tensors.get(name)?.data as Float32Array)
        .digest("base64");
      expect(sum === sums[name], `${name}, ${keep}`).toBe(keep === "state");
    }
  }
});
