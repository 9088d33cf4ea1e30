/**
 * What a checkpoint costs training: `bun bench/checkpoint.ts [--width 64] [--batch 64] [--steps 6] [--rounds 5] [--threads 2]`.
 * In turn, on the same run: steps without a checkpoint, and as many with one at their start, written by the publisher's
 * thread while they go on. What the latter take longer is its cost, all contention for cores and memory included.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { startPosition } from "../src/engine/metrics.ts";
import { bytesOfState, ringsOf, snapshot } from "../src/engine/state.ts";
import { parseSpec } from "../src/schema/job.ts";
import { openBatches } from "../src/train/batches.ts";
import { Publisher } from "../src/train/publisher.ts";
import { openSession } from "../src/train/session.ts";
import { trainStep } from "../src/train/step.ts";
import { median } from "./compare.ts";

const { values } = parseArgs({
  options: {
    width: { type: "string", default: "64" },
    batch: { type: "string", default: "64" },
    steps: { type: "string", default: "6" },
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: "2" },
  },
});
const number = (name: keyof typeof values) => Number(values[name]);

const spec = parseSpec("pretrain", {
  preset: "cifar",
  dataset: { kind: "fashion-mnist", images: 4000 },
  encoder: { arch: "resnet18", stem: "cifar", width: number("width") },
  batchSize: number("batch"),
  splits: 8,
  epochs: 1000,
});
const data = mkdtempSync(join(tmpdir(), "mocod-checkpoint-"));
try {
  const context = { cache: data, log: console.error };
  const session = await openSession(spec, { threads: number("threads"), device: "wasm", context });
  const { model, engine, dataset, parts } = session;
  const trainer = { model, engine, batches: openBatches(dataset.train, parts.train, spec) };
  const position = startPosition(spec, Object.keys(ringsOf(spec)));
  const publisher = new Publisher(
    { storeUrl: pathToFileURL(data).href, runId: "run_bench", spec, channels: dataset.train.channels },
    async () => undefined,
  );
  const snapshots: number[] = [];
  const written: number[] = [];
  /** Seconds of some steps. */
  const steps = async (checkpoint: boolean): Promise<number> => {
    const start = performance.now();
    let done: Promise<unknown> = Promise.resolve();
    if (checkpoint) {
      const state = snapshot(model.state);
      snapshots.push(performance.now() - start);
      await publisher.submit({
        checkpoint: { of: { step: position.step, epoch: null, knn: null }, position: structuredClone(position), state },
      });
      done = publisher.drained().then(() => written.push(performance.now() - start));
    }
    for (let i = 0; i < number("steps"); i++) await trainStep(trainer, position);
    const seconds = (performance.now() - start) / 1000;
    await done;
    return seconds;
  };
  await steps(true); // warm
  const [without, withOne]: [number[], number[]] = [[], []];
  for (let round = 0; round < number("rounds"); round++) {
    without.push(await steps(false));
    withOne.push(await steps(true));
  }
  const cost = median(withOne.map((seconds, i) => seconds - (without[i] as number)));
  const minutes = spec.checkpoint.everyMinutes;
  const row = (name: string, value: string) => console.log(`${name.padEnd(44)} ${value}`);
  row("state", `${(bytesOfState(model.state) / 1e6).toFixed(0)} MB`);
  row("one step", `${(median(without) / number("steps")).toFixed(3)} s`);
  row("training waits for the snapshot", `${median(snapshots.slice(1)).toFixed(0)} ms`);
  row("until it is in the store, behind training", `${(median(written.slice(1)) / 1000).toFixed(2)} s`);
  row("what a checkpoint costs in all", `${cost.toFixed(2)} s`);
  row(`share of the time at one in ${minutes} minutes`, `${((100 * cost) / (minutes * 60)).toFixed(3)}%`);
  publisher.close();
  engine.close();
} finally {
  rmSync(data, { recursive: true });
}
process.exit(0);
