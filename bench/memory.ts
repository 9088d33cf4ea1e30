/**
 * Peak memory of training by batch size: SimCLR, whose loss needs the whole batch, beside MoCo. Each run is a process of its
 * own that takes two steps of noise, and tells what the kernel saw of it (VmHWM); beside it what `mocod plan` says.
 *
 *     bun bench/memory.ts [--width 16] [--size 32] [--threads 2] [--split 64]
 *     bun bench/memory.ts --one '{"method":"simclr","batch":1024,"tapes":"kept"}'
 */
import { parseArgs } from "node:util";
import type { Tapes } from "../src/engine/open.ts";
import { ringsOf, trainedParams } from "../src/engine/state.ts";
import { footprint } from "../src/plan/footprint.ts";
import { noiseStep, rehearse } from "../src/plan/rehearsal.ts";
import { parseSpec } from "../src/schema/job.ts";
import { peakBytes } from "./peak_memory.ts";

const { values } = parseArgs({
  options: {
    width: { type: "string", default: "16" },
    size: { type: "string", default: "32" },
    threads: { type: "string", default: "2" },
    split: { type: "string", default: "64" },
    one: { type: "string" },
  },
});
const [width, size, threads, split] = [values.width, values.size, values.threads, values.split].map(Number) as [
  number,
  number,
  number,
  number,
];

interface Work {
  readonly method: string;
  readonly batch: number;
  readonly tapes: Tapes;
  /** Of MoCo. */
  readonly queue?: number;
}

const specOf = ({ method, batch, queue }: Work) =>
  parseSpec("pretrain", {
    method,
    preset: "cifar",
    dataset: { kind: "cifar10" },
    encoder: { width },
    batchSize: batch,
    splits: batch / split,
    augmentation: { size },
    norm: "split",
    ...(queue && { queueSize: queue }),
  });

if (values.one) {
  const work = JSON.parse(values.one) as Work;
  const spec = specOf(work);
  const seconds = await rehearse(spec, 3, threads, work.tapes, async ({ model, engine, pixels }) => {
    const rings = Object.keys(ringsOf(spec));
    let last = 0;
    for (let step = 0; step < 2; step++) {
      const before = performance.now();
      await engine.train(noiseStep(pixels, step, rings, model.networks.followers));
      last = (performance.now() - before) / 1000;
    }
    if (!trainedParams(model).every(Number.isFinite)) throw new Error("the parameters are not finite");
    return last;
  });
  console.log(JSON.stringify({ peak: peakBytes(), seconds }));
  process.exit(0);
}

const works: Work[] = [
  { method: "moco-v2", batch: 256, tapes: "recomputed", queue: 4096 },
  { method: "moco-v2", batch: 256, tapes: "recomputed", queue: 65_536 },
  ...[256, 1024, 4096].flatMap((batch): Work[] => [
    { method: "simclr", batch, tapes: "recomputed" },
    ...(batch <= 1024 ? [{ method: "simclr", batch, tapes: "kept" } as const] : []),
  ]),
];
console.log(
  `ResNet-18, width ${width}, ${size}x${size}, splits of ${split}, ${threads} threads\n\n| | batch | forward passes | peak, MB | images/s |\n|---|---|---|---|---|`,
);
for (const work of works) {
  const command = [process.execPath, import.meta.path, "--one", JSON.stringify(work)];
  for (const name of ["width", "size", "threads", "split"] as const) command.push(`--${name}`, values[name]);
  const child = Bun.spawnSync(command, { stdio: ["ignore", "pipe", "inherit"] });
  if (child.exitCode !== 0) throw new Error(`${JSON.stringify(work)} failed`);
  const { peak, seconds } = JSON.parse(child.stdout.toString()) as { peak: number; seconds: number };
  const name = work.queue ? `${work.method}, K ${work.queue}` : work.method;
  const passes = work.queue ? "one a split" : work.tapes;
  console.log(
    `| ${name} | ${work.batch} | ${passes} | ${(peak / 1e6).toFixed(0)} | ${(work.batch / seconds).toFixed(0)} |`,
  );
}
const planned = await footprint(specOf({ method: "simclr", batch: 4096, tapes: "kept" }), 3, threads);
console.log(
  `\nmocod plan, simclr at 4096: ${planned.tapes}, ${(planned.total / 1e6).toFixed(0)} MB with a checkpoint being written`,
);
process.exit(0);
