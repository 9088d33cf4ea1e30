/** Evaluations that are stopped anywhere and resumed: the same results and files to the byte, and no work twice. */
import { afterAll, beforeAll, describe, expect, spyOn, test } from "bun:test";
import { readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Threads } from "../../src/engine/threads/threads.ts";
import { evaluate } from "../../src/judge/index.ts";
import { TEMPORARY } from "../../src/judge/journal.ts";
import { type EvaluationType, parseSpec } from "../../src/schema/job.ts";
import type { PretrainSpec } from "../../src/schema/pretrain.ts";
import { FencedError } from "../../src/store/errors.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { RunStore } from "../../src/store/run_store.ts";
import { machineId } from "../../src/util/machine.ts";
import { LONG, runTo, temporaryFolder, tinyPairs, writeFashionLike, writePairs } from "../support/helpers.ts";
import { tinySpec } from "../support/service.ts";

const [TRAIN, TEST, GROUP] = [260, 40, 64];
const folder = temporaryFolder();
const images = join(folder.path, "images");
const photos = join(folder.path, "pairs");
let pretrained: PretrainSpec;
let onPairs: PretrainSpec;
const spies = (["embed", "train"] as const).map((name) => spyOn(Threads.prototype, name));
/** Groups that were embedded and steps that were trained. */
const engineCalls = () => spies.reduce((sum, { mock }) => sum + mock.calls.length, 0);

beforeAll(async () => {
  writeFashionLike(images, TRAIN, TEST);
  const quick = { epochs: 1, monitor: { everyEpochs: 0, holdout: 20 } };
  await writePairs(photos, 64, 160);
  onPairs = parseSpec("pretrain", tinyPairs(photos, quick));
  await runTo(onPairs, folder.path, { threads: 2, device: "wasm" });
  renameSync(runFolder("run_x"), runFolder("run_pairs"));
  pretrained = parseSpec("pretrain", tinySpec(images, quick));
  await runTo(pretrained, folder.path, { threads: 2, device: "wasm" });
  renameSync(runFolder("run_x"), runFolder("run_y"));
  pretrained = { ...pretrained, optimizer: { ...pretrained.optimizer, lr: 0.01 } };
  await runTo(pretrained, folder.path, { threads: 2, device: "wasm" });
}, 60_000);
afterAll(() => {
  for (const spy of spies) spy.mockRestore();
  folder[Symbol.dispose]();
});

interface Life {
  /** Ends the life when its count of images gets here; unset: it runs to its end. */
  stopAt?: number;
  /** Ends it like a crash: nothing is written any more. */
  kill?: boolean;
  /** The request to stop comes while something is computed. */
  late?: boolean;
  everyMinutes?: number;
  permit?: () => Promise<void>;
  /** The run that pretrained the encoder. */
  source?: string;
}

class Killed extends Error {}

/** One life of an evaluation `id`: its outcome, what it said, and how often it called the engine. */
async function live(type: EvaluationType, spec: object, id: string, life: Life = {}) {
  const pairs = type === "retrieval" || type === "zero-shot";
  const {
    stopAt = Number.POSITIVE_INFINITY,
    kill = false,
    late = false,
    everyMinutes = 0,
    permit,
    source = pairs ? "run_pairs" : "run_x",
  } = life;
  const of = pairs ? onPairs : pretrained;
  const blobs = new LocalBlobs(folder.path);
  const own = new RunStore(blobs, id, permit);
  const said: string[] = [];
  let seen = { step: 0, steps: 0 };
  const before = engineCalls();
  let stop: "shutdown" | undefined;
  const stopping = Promise.withResolvers<void>();
  const requestStop = () => {
    stop = "shutdown";
    stopping.resolve();
  };
  const outcome = await evaluate(type, parseSpec(type, { from: "run_x", ...spec }) as never, {
    pretrained: { ...of, checkpoint: { ...of.checkpoint, everyMinutes } },
    source: new RunStore(blobs, source),
    own,
    computing: { threads: 1, device: "wasm" },
    group: GROUP,
    ...(late && { longStepMs: 0 }),
    report: {
      cache: "/nonexistent",
      log: (message) => said.push(message),
      progress: ({ step, steps }) => {
        seen = { step, steps };
        if (step < stopAt) return;
        if (kill) throw new Killed();
        if (late) setTimeout(requestStop, 0);
        else requestStop();
      },
      stopRequested: () => stop,
      stopping: stopping.promise,
    },
  }).catch((error: unknown) => {
    if (error instanceof Killed) return undefined;
    throw error;
  });
  if (outcome && "result" in outcome) await own.finish(outcome.result, TEMPORARY);
  return { outcome, said: said.join("\n"), seen, calls: engineCalls() - before };
}

const runFolder = (id: string) => join(folder.path, "runs", id);
const namesOf = (id: string) =>
  readdirSync(runFolder(id), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(runFolder(id).length + 1))
    .sort();

/** Names and bytes of what an evaluation leaves, without its time. */
const filesOf = (id: string): Map<string, string> =>
  new Map(
    namesOf(id)
      .filter((name) => name !== "manifest.json")
      .map((name) => {
        const bytes = readFileSync(join(runFolder(id), name));
        if (name !== "result.json") return [name, bytes.toString("base64")];
        return [name, JSON.stringify({ ...JSON.parse(bytes.toString()), seconds: 0 })];
      }),
  );

const cases: [name: string, type: EvaluationType, spec: object][] = [
  ["probe, fast", "linear-probe", { epochs: 4, lr: [0.1, 0.3] }],
  ["probe, paper", "linear-probe", { protocol: "paper", epochs: 3, lr: [1, 3] }],
  ["kNN", "knn", { k: [5, 20] }],
  ["fine-tune", "fine-tune", { epochs: 2, batchSize: 48, lr: [0.01, 0.05] }],
  ["embed", "embed", {}],
  ["map", "map", { images: 150, neighbours: 5 }],
  ["zero-shot", "zero-shot", { classes: "dataset", templates: ["a {} bar", "{}"] }],
  ["retrieval", "retrieval", {}],
];

describe.each(cases)("%s", (name, type, spec) => {
  const id = (what: string) => `run_${name.replace(/\W/g, "")}${what}`.toLowerCase();
  let calm: Awaited<ReturnType<typeof live>>;
  let expected: Map<string, string>;

  beforeAll(async () => {
    calm = await live(type, spec, id("calm"));
    expected = filesOf(id("calm"));
  }, 120_000);

  test("uninterrupted: its progress ends where it said, and no temporary file is left", () => {
    expect(calm.outcome).toHaveProperty("result");
    expect(calm.seen.step).toBe(calm.seen.steps);
    expect([...expected.keys()].filter((file) => TEMPORARY.some((prefix) => file.startsWith(prefix)))).toEqual([]);
  });

  test("stopped several times: the same bytes, and no image is embedded or trained on twice", async () => {
    const { steps } = calm.seen;
    let calls = 0;
    let reached = 0;
    for (const share of LONG ? [0.05, 0.3, 0.65, 0.9] : [0.3, 0.9]) {
      const { outcome, said, seen, calls: more } = await live(type, spec, id("stopped"), { stopAt: share * steps });
      expect(outcome).toEqual({ stopped: "shutdown" });
      if (reached > 0) expect(said).toContain(`resuming after ${reached} of ${steps} images`);
      reached = seen.step;
      calls += more;
    }
    const last = await live(type, spec, id("stopped"));
    expect(last.seen.step).toBe(steps);
    expect(calls + last.calls).toBe(calm.calls);
    expect(filesOf(id("stopped"))).toEqual(expected);
  }, 120_000);

  test("killed, with checkpoints by time: the same bytes, and each time at most one batch is computed again", async () => {
    const kills = [0.25, 0.75];
    let calls = 0;
    for (const share of kills) {
      const stopAt = share * calm.seen.steps;
      const { outcome, calls: more } = await live(type, spec, id("killed"), { stopAt, kill: true, everyMinutes: 1e-9 });
      expect(outcome).toBeUndefined();
      calls += more;
    }
    const last = await live(type, spec, id("killed"));
    expect(calls + last.calls).toBeLessThanOrEqual(calm.calls + kills.length);
    expect(filesOf(id("killed"))).toEqual(expected);
  }, 120_000);
});

test.each([
  ["an embedding", "embed", {}],
  ["a fine-tune", "fine-tune", { epochs: 2, batchSize: 48, lr: 0.05, baselines: false }],
] as const)(
  "a stop does not wait for the computation in hand: %s",
  async (name, type, spec) => {
    const id = (what: string) => `run_late${name.replace(/\W/g, "")}${what}`;
    const calm = await live(type, spec, id("calm"));
    const { outcome, seen, calls } = await live(type, spec, id("late"), { stopAt: 0.4 * calm.seen.steps, late: true });
    expect(outcome).toEqual({ stopped: "shutdown" });
    const last = await live(type, spec, id("late"));
    expect(last.said).toContain(`resuming after ${seen.step} of`);
    // What was given up is computed again.
    expect(calls + last.calls).toBe(calm.calls + 1);
    expect(filesOf(id("late"))).toEqual(filesOf(id("calm")));
  },
  60_000,
);

describe("what a resume finds", () => {
  const [type, spec] = ["linear-probe", { protocol: "paper", epochs: 3, lr: 1 }] as const;
  let calm: Awaited<ReturnType<typeof live>>;
  let expected: Map<string, string>;

  beforeAll(async () => {
    calm = await live(type, spec, "run_found0");
    expected = filesOf("run_found0");
  }, 60_000);

  /** Stops in the fit of the trained encoder, in the middle of an epoch. */
  const interrupted = (id: string) => live(type, spec, id, { stopAt: calm.seen.steps - 330 });
  const newest = (id: string, prefix: string) =>
    join(runFolder(id), namesOf(id).findLast((name) => name.startsWith(prefix) && name.endsWith("tensors")) as string);

  test.each([
    ["a checkpoint with one bit flipped", "checkpoints/", "falling back to the previous checkpoint"],
    ["features with one bit flipped", "pieces/", "computing its rows again"],
  ])(
    "%s counts for nothing",
    async (what, prefix, message) => {
      const id = `run_${what.replace(/\W/g, "")}`;
      await interrupted(id);
      const file = newest(id, prefix);
      const bytes = readFileSync(file);
      bytes[bytes.length - 5] = (bytes.at(-5) as number) ^ 4;
      writeFileSync(file, bytes);
      const { said } = await live(type, spec, id);
      expect(said).toContain(message);
      expect(filesOf(id)).toEqual(expected);
    },
    60_000,
  );

  test("files without a record are deleted: half-written ones, and features that no checkpoint names", async () => {
    const id = "run_leftovers";
    await interrupted(id);
    const dead = Bun.spawnSync(["true"]).pid;
    for (const name of [
      `.result.json.${machineId()}.${dead}.0.tmp`,
      "pieces/0.safetensors",
      "checkpoints/step-000000999.safetensors",
    ]) {
      writeFileSync(join(runFolder(id), name), "half");
    }
    await live(type, spec, id);
    expect(filesOf(id)).toEqual(expected);
  }, 60_000);

  test("another checkpoint of the pretrain job: what is of the trained encoder begins anew, the baselines do not", async () => {
    await interrupted("run_other");
    const { said, calls } = await live(type, spec, "run_other", { source: "run_y" });
    expect(said).toContain("trained: depends on other weights");
    const other = await live(type, spec, "run_othercalm", { source: "run_y" });
    expect(calls).toBeLessThan(other.calls);
    const [got, calmly] = ["run_other", "run_othercalm"].map((id) => filesOf(id));
    expect(got).toEqual(calmly as Map<string, string>);
    expect(got).not.toEqual(expected);
  }, 60_000);

  test("a result that the job does not know of is given at once", async () => {
    const before = namesOf("run_found0");
    const { outcome, calls } = await live(type, spec, "run_found0");
    expect([calls, outcome]).toEqual([0, calm.outcome as never]);
    expect(namesOf("run_found0")).toEqual(before);
  });

  test("without permission nothing is written", async () => {
    const id = "run_fenced";
    await interrupted(id);
    const before = namesOf(id).map((name) => [name, readFileSync(join(runFolder(id), name))]);
    let asked = 0;
    const permit = async () => {
      // The first one is for deleting what a killed writer has left.
      if (++asked > 1) throw new FencedError("another worker has taken over the job");
    };
    await expect(live(type, spec, id, { permit, everyMinutes: 1e-9 })).rejects.toThrow(FencedError);
    expect(namesOf(id).map((name) => [name, readFileSync(join(runFolder(id), name))])).toEqual(before);
  }, 60_000);
});
