/**
 * A step of a method on WebGPU by the real training path. Prints seconds of a step, one a line; warmed up before.
 *
 *     bun bench/gpu_ours.ts [--arch resnet18] [--width 64] [--size 32] [--batch 512] [--splits 8] [--precision float32] [--method moco-v2]
 *                           [--steps 20] [--busy] [--profile [--shapes]] [--host] [--count]
 *     bun bench/gpu_ours.ts --arch vit-small --patch 16 --size 224 --batch 256 ...      a step of MoCo v3, whose width is the arch's
 *
 * --busy: instead, the share of a step's time in which the GPU computes, by timestamps. --profile: where that time goes, by
 * kernel, or with --shapes by kernel and workgroups.
 * --host: seconds of a step on Dawn's null backend, which computes nothing: what the host takes, which a GPU must not wait for.
 * --count: nothing runs; dispatches, bytes and operations of a step, beside an H100's limits (no GPU is needed).
 */
import { parseArgs } from "node:util";
import { findAdapters } from "../src/backend/adapters.ts";
import { findNullAdapter, H100 } from "../src/backend/null_adapter.ts";
import type { Recording } from "../src/backend/recording.ts";
import { sharedBytes } from "../src/data/types.ts";
import { startPosition } from "../src/engine/metrics.ts";
import { createModel, ringsOf } from "../src/engine/state.ts";
import { GpuEngine } from "../src/engine/webgpu/engine.ts";
import { openGpu } from "../src/kernels/gpu.ts";
import { parseSpec } from "../src/schema/job.ts";
import { openBatches } from "../src/train/batches.ts";
import { trainStep } from "../src/train/step.ts";

const { values } = parseArgs({
  options: {
    arch: { type: "string", default: "resnet18" },
    precision: { type: "string", default: "float32" },
    method: { type: "string", default: "moco-v2" },
    width: { type: "string", default: "64" },
    /** Of a ViT. */
    patch: { type: "string", default: "16" },
    size: { type: "string", default: "32" },
    batch: { type: "string", default: "512" },
    splits: { type: "string", default: "8" },
    steps: { type: "string", default: "20" },
    busy: { type: "boolean", default: false },
    profile: { type: "boolean", default: false },
    shapes: { type: "boolean", default: false },
    count: { type: "boolean", default: false },
    host: { type: "boolean", default: false },
  },
});
const { width, patch, size, batch, splits, steps } = Object.fromEntries(
  Object.entries(values).map(([name, value]) => [name, Number(value)]),
) as Record<"width" | "patch" | "size" | "batch" | "splits" | "steps", number>;
const isVit = values.arch.startsWith("vit");
const spec = parseSpec("pretrain", {
  method: values.method,
  ...(isVit && { method: "moco-v3", norm: "batch", optimizer: { algorithm: "adamw", lr: 1e-3, warmup: 0 } }),
  preset: "cifar",
  dataset: { kind: "cifar10" },
  batchSize: batch,
  splits,
  epochs: 1,
  logEvery: 1000,
  encoder: isVit
    ? { arch: values.arch, patch }
    : { arch: values.arch, width, stem: values.arch === "resnet18" ? "cifar" : "imagenet" },
  augmentation: { size },
  precision: values.precision,
});
const found = values.count || values.host ? await findNullAdapter() : (await findAdapters())[0];
if (!found) throw new Error("no WebGPU adapter here");
const backend = await openGpu(found);
if (values.profile) console.error(JSON.stringify(found.description));
const model = createModel(spec, 3, 1);
const [mean, std] = [Array(3).fill(0.5), Array(3).fill(0.25)] as [number[], number[]];
const measures = !values.count && !values.host && !found.description.software;
const engine = new GpuEngine({
  model,
  backend,
  device: found.description.name,
  channels: 3,
  mean,
  std,
  measures,
  log: console.error,
});
const pixels = sharedBytes(batch * size * size * 3);
for (let i = 0; i < pixels.length; i++) pixels[i] = Math.imul(i, 2654435761) >>> 24;
const images = { pixels, labels: undefined, count: batch, height: size, width: size, channels: 3 };
const order = Int32Array.from({ length: batch }, (_, i) => i);
const batches = openBatches(images, order, { ...spec, epochs: 1_000_000 });
const position = startPosition(spec, Object.keys(ringsOf(spec)));
const step = () => trainStep({ model, engine, batches }, position);

interface Row {
  readonly count: number;
  readonly seconds: number;
  readonly flops: number;
  readonly bytes: number;
}
const plus = (a: Row, b: Row): Row => ({
  count: a.count + b.count,
  seconds: a.seconds + b.seconds,
  flops: a.flops + b.flops,
  bytes: a.bytes + b.bytes,
});

/** Time, operations and bytes by kernel, most first; `times` in seconds. */
function table(recording: Recording, times: readonly number[]): void {
  const rows = new Map<string, Row>();
  recording.dispatches.forEach(({ name, flops, bytes, groups }, i) => {
    const key = values.shapes ? `${name} ${groups.join(" x ")}` : name;
    const one = { count: 1, seconds: times[i] as number, flops, bytes };
    const known = rows.get(key);
    rows.set(key, known ? plus(known, one) : one);
  });
  const line = (name: string, { count, seconds, flops, bytes }: Row) =>
    `${(1e3 * seconds).toFixed(3).padStart(9)} ms ${String(count).padStart(5)} ${(flops / 1e9).toFixed(1).padStart(9)} GFLOP ` +
    `${(bytes / 1e6).toFixed(1).padStart(9)} MB ${(flops / seconds / 1e12).toFixed(1).padStart(6)} TFLOP/s ` +
    `${(bytes / seconds / 1e9).toFixed(0).padStart(5)} GB/s  ${name}`;
  const sorted = [...rows].sort(([, a], [, b]) => b.seconds - a.seconds);
  for (const [name, row] of sorted) console.log(line(name, row));
  console.log(line("together", [...rows.values()].reduce(plus)));
}

if (values.count) {
  await engine.record();
  const recording = await engine.recorded("train");
  const flopsPerSecond = spec.precision === "mixed" ? H100.float16 : H100.float32;
  console.log(
    `${values.arch}${isVit ? `/${patch}` : `, width ${width}`}, ${size}x${size}, batch ${batch} in ${splits} splits, ${spec.precision}: one step\n` +
      `${recording.dispatches.length} dispatches, one submit; ${(recording.bytes / 1e9).toFixed(2)} GB of buffers. ` +
      `Least time on one ${H100.name}: the greater of operations / ${flopsPerSecond / 1e12} TFLOP/s and bytes bound / ` +
      `${H100.bytes / 1e12} TB/s, kernel by kernel; bytes count a buffer once for each dispatch that binds it.`,
  );
  table(
    recording,
    recording.dispatches.map(({ flops, bytes }) => Math.max(flops / flopsPerSecond, bytes / H100.bytes)),
  );
  process.exit(0);
}
const WARM_UP = found.description.software ? 1 : 10;
for (let i = 0; i < WARM_UP; i++) await step();
if (!values.host) await engine.settle(); // the null backend has nothing to give
const timed = async (count: number) => {
  const before = performance.now();
  for (let i = 0; i < count; i++) await step();
  await backend.device.queue.onSubmittedWorkDone();
  return (performance.now() - before) / 1000 / count;
};
if (values.profile) {
  const recording = await engine.recorded("train");
  table(
    recording,
    (await recording.times()).map((nanoseconds) => nanoseconds / 1e9),
  );
  const [wall, gpu] = [await timed(steps), (await recording.time()) / 1e9];
  console.log(`a step: ${(1e3 * wall).toFixed(2)} ms, of which the GPU computes ${(1e3 * gpu).toFixed(2)} ms`);
} else if (values.busy) {
  const wall = await timed(steps);
  console.log((await (await engine.recorded("train")).time()) / 1e9 / wall);
} else for (let i = 0; i < 5; i++) console.log(await timed(Math.max(1, Math.round(steps / 5))));
process.exit(0);
