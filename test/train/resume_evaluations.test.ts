/** Evaluations that are stopped anywhere and resumed: the same results and files to the byte, and no work twice. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { evaluate } from "../../src/judge/index.ts";
import { TEMPORARY } from "../../src/judge/journal.ts";
import { type EvaluationType, type Progress, parseSpec } from "../../src/schema/job.ts";
import type { PretrainSpec } from "../../src/schema/pretrain.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { RunStore } from "../../src/store/run_store.ts";
import { runTo, temporaryFolder, writeFashionLike } from "../support/helpers.ts";

const [TRAIN, TEST, GROUP] = [260, 40, 64];
const folder = temporaryFolder();
const images = join(folder.path, "images");
let pretrained: PretrainSpec;

beforeAll(async () => {
  writeFashionLike(images, TRAIN, TEST);
  pretrained = parseSpec("pretrain", {
    dataset: { kind: "fashion-mnist", path: images },
    encoder: { arch: "resnet10", stem: "cifar", width: 4 },
    dim: 16,
    queueSize: 64,
    batchSize: 16,
    splits: 4,
    epochs: 1,
    monitor: { everyEpochs: 0, holdout: 20 },
  });
  await runTo(pretrained, folder.path, { threads: 2, device: "wasm" });
}, 60_000);
afterAll(() => folder[Symbol.dispose]());

interface Life {
  /** Ends the life when its image count gets here; unset: it runs to its end. */
  stopAt?: number;
  /** Ends it like a crash, without a word to the evaluation. */
  kill?: boolean;
  everyMinutes?: number;
  permit?: () => Promise<void>;
}

class Killed extends Error {}

/** One life of an evaluation `id`: its outcome, what it said, and the images that it dealt with. */
async function live(type: EvaluationType, spec: object, id: string, { stopAt, kill, everyMinutes = 0, permit }: Life) {
  const blobs = new LocalBlobs(folder.path);
  const own = new RunStore(blobs, id, permit);
  const said: string[] = [];
  let seen: Progress | undefined;
  let first = -1;
  const reached = () => stopAt !== undefined && (seen?.step ?? 0) >= stopAt;
  const outcome = await evaluate(type, parseSpec(type, { from: "run_x", ...spec }) as never, {
    pretrained: { ...pretrained, checkpoint: { ...pretrained.checkpoint, everyMinutes } },
    source: new RunStore(blobs, "run_x"),
    own,
    computing: { threads: 1, device: "wasm" },
    group: GROUP,
    report: {
      cache: "/nonexistent",
      log: (message) => said.push(message),
      progress: (progress) => {
        seen = progress;
        if (first < 0) first = progress.step;
        if (kill && reached()) throw new Killed();
      },
      stopRequested: () => (!kill && reached() ? "shutdown" : undefined),
    },
  }).catch((error: unknown) => {
    if (error instanceof Killed) return undefined;
    throw error;
  });
  if (outcome && "result" in outcome) await own.finish(outcome.result, TEMPORARY);
  return { outcome, said, seen: seen as Progress | undefined, first };
}

/** Names and bytes of what an evaluation leaves, with times left out. */
function filesOf(id: string): Map<string, string> {
  const run = join(folder.path, "runs", id);
  const names = readdirSync(run, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(run.length + 1));
  return new Map(
    names
      .sort()
      .filter((name) => name !== "manifest.json")
      .map((name) => {
        const bytes = readFileSync(join(run, name));
        if (name !== "result.json") return [name, bytes.toString("base64")];
        return [name, JSON.stringify({ ...JSON.parse(bytes.toString()), seconds: 0 })];
      }),
  );
}

const cases: [name: string, type: EvaluationType, spec: object][] = [
  ["probe, fast", "linear-probe", { epochs: 4, lr: [0.1, 0.3] }],
  ["probe, paper", "linear-probe", { protocol: "paper", epochs: 3, lr: [1, 3] }],
  ["kNN", "knn", { k: [5, 20] }],
  ["fine-tune", "fine-tune", { epochs: 2, batchSize: 32, lr: [0.01, 0.05] }],
  ["embed", "embed", {}],
  ["map", "map", { images: 150, neighbours: 5 }],
];

describe.each(cases)("%s", (name, type, spec) => {
  const id = (what: string) => `run_${name.replace(/\W/g, "")}${what}`.toLowerCase();
  let calm: Awaited<ReturnType<typeof live>>;
  let expected: Map<string, string>;

  beforeAll(async () => {
    calm = await live(type, spec, id("calm"), {});
    expected = filesOf(id("calm"));
  }, 120_000);

  test("left in peace: it counts what it said that it would, and leaves no temporary file", () => {
    expect(calm.outcome).toHaveProperty("result");
    expect(calm.seen?.step).toBe(calm.seen?.steps as number);
    expect([...expected.keys()].filter((file) => TEMPORARY.some((prefix) => file.startsWith(prefix)))).toEqual([]);
  });

  test("stopped at every turn: each life goes on where the last one stopped", async () => {
    const steps = calm.seen?.steps as number;
    const turns = 12;
    let at = 0;
    for (let i = 1; i < turns; i++) {
      const { outcome, said, seen, first } = await live(type, spec, id("stopped"), { stopAt: (i * steps) / turns });
      if (!outcome || "result" in outcome) break;
      // What was counted when it stopped is counted at once.
      expect(first).toBeGreaterThanOrEqual(0);
      if (at > 0) expect(said.join()).toContain(`resuming after ${at} of ${steps} images`);
      at = seen?.step as number;
    }
    const last = await live(type, spec, id("stopped"), {});
    expect(last.seen?.step).toBe(steps);
    expect(filesOf(id("stopped"))).toEqual(expected);
  }, 120_000);

  test("killed at any moment, with checkpoints by time: the same bytes", async () => {
    const steps = calm.seen?.steps as number;
    for (const share of [0.2, 0.45, 0.7, 0.95]) {
      const { outcome } = await live(type, spec, id("killed"), {
        stopAt: share * steps,
        kill: true,
        everyMinutes: 1e-9,
      });
      expect(outcome).toBeUndefined();
    }
    await live(type, spec, id("killed"), {});
    expect(filesOf(id("killed"))).toEqual(expected);
  }, 120_000);
});
