/** Runs on images of six bands of 16 bits: trained, stopped and resumed, evaluated, shown and exported as any other. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { loadDataset } from "../../src/data/index.ts";
import { probe } from "../../src/judge/probe.ts";
import { parseSpec } from "../../src/schema/job.ts";
import type { PretrainSpec } from "../../src/schema/pretrain.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { RunStore } from "../../src/store/run_store.ts";
import { decodeSafetensors } from "../../src/store/safetensors.ts";
import { contactSheet } from "../../src/train/views.ts";
import { useTestDevice } from "../support/devices.ts";
import { finalFiles, LONG, resultOf, runTo, temporaryFolder } from "../support/helpers.ts";

const [COUNT, SIDE, BANDS] = [96, 12, 6];
const data = temporaryFolder();
const at = (name: string) => join(data.path, name);
beforeAll(async () => {
  await useTestDevice("webgpu");
  await useTestDevice("wasm");
  // The fifth band says the class: brighter by a tenth of the range, in numbers that eight bits hold as well as none.
  const label = (image: number) => image % 2;
  const values = Uint16Array.from({ length: COUNT * SIDE * SIDE * BANDS }, (_, i) => {
    const [band, image] = [i % BANDS, Math.floor(i / (SIDE * SIDE * BANDS))];
    return (Math.imul(i, 2654435761) >>> 26) + (band === 4 ? 100 * label(image) : 50);
  });
  const header = (type: string, shape: string) =>
    Buffer.from(
      `\x93NUMPY\x01\0v\0${`{'descr': '${type}', 'fortran_order': False, 'shape': (${shape}), }`.padEnd(117)}\n`,
      "latin1",
    );
  writeFileSync(
    at("x.npy"),
    Buffer.concat([header("<u2", `${COUNT}, ${SIDE}, ${SIDE}, ${BANDS}`), Buffer.from(values.buffer)]),
  );
  writeFileSync(
    at("y.npy"),
    Buffer.concat([header("|u1", `${COUNT},`), Buffer.from(Uint8Array.from({ length: COUNT }, (_, i) => label(i)))]),
  );
});
afterAll(() => data[Symbol.dispose]());

const NO_COLOURS = { size: 12, grey: 0, jitter: { saturation: 0, hue: 0 } };
const specFor = (more: object = {}) =>
  parseSpec("pretrain", {
    dataset: { kind: "array", path: at("x.npy"), labels: at("y.npy"), range: [0, 255] },
    encoder: { arch: "resnet10", stem: "cifar", width: 4 },
    dim: 16,
    batchSize: 16,
    splits: 2,
    epochs: 2,
    augmentation: NO_COLOURS,
    monitor: { bank: 20, holdout: 20, k: 5 },
    ...more,
  }) as PretrainSpec;

async function run(spec: PretrainSpec, device: "wasm" | "webgpu", stops: readonly number[] = []) {
  const folder = temporaryFolder();
  for (const stop of stops) await runTo(spec, folder.path, { threads: 2, device }, stop);
  const result = resultOf(await runTo(spec, folder.path, { threads: 2, device }));
  return { folder, result, files: finalFiles(folder.path, result) };
}

test("hue, saturation and grey are refused by name", async () => {
  using folder = temporaryFolder();
  const spec = specFor({ queueSize: 40, augmentation: { size: 12, grey: 0.2, jitter: { saturation: 0.4, hue: 0 } } });
  expect(runTo(spec, folder.path, { threads: 1, device: "wasm" })).rejects.toThrow(
    "spec.augmentation.grey: got 0.2, spec.augmentation.jitter.saturation: got 0.4; allowed: 0: images of 6 channels are no RGB",
  );
});

test("a run that is stopped and resumed ends in the same bytes", async () => {
  const [whole, stopped] = [
    await run(specFor({ queueSize: 40 }), "wasm"),
    await run(specFor({ queueSize: 40 }), "wasm", [2]),
  ];
  using _ = whole.folder;
  using __ = stopped.folder;
  expect(stopped.files).toEqual(whole.files);
  const { tensors } = decodeSafetensors(new Uint8Array(whole.files[0]), "end");
  expect(tensors.get("module.encoder_q.conv1.weight")?.shape).toEqual([4, BANDS, 3, 3]);
});

// A software adapter takes half a minute.
test.if(LONG)("both devices train a ViT on bands the same", async () => {
  const short = { epochs: 1, optimizer: { warmup: 0 }, monitor: { bank: 20, holdout: 20, k: 5, everyEpochs: 0 } };
  const encoder = { arch: "vit-tiny", patch: 4, width: 24, depth: 1, heads: 3 };
  const dataset = { kind: "array", path: at("x.npy"), range: [0, 255], images: 32 };
  const spec = specFor({ method: "moco-v3", encoder, ...short, dataset });
  const [ours, theirs] = [await run(spec, "webgpu"), await run(spec, "wasm")];
  using a = ours.folder;
  using b = theirs.folder;
  expect(a.path).not.toBe(b.path);
  expect(Math.abs(ours.result.loss / theirs.result.loss - 1)).toBeLessThan(1e-3);
});

test("a probe finds the class that one band tells; views show the first three bands", async () => {
  const spec = specFor({ queueSize: 40 });
  const { folder } = await run(spec, "wasm");
  using _ = folder;
  const store = (name: string) => new RunStore(new LocalBlobs(folder.path), name);
  const quiet = () => undefined;
  const report = { cache: "/nonexistent", log: quiet, progress: quiet, stopRequested: quiet };
  const probed = await probe(parseSpec("linear-probe", { from: "run_x", epochs: 30 }), {
    pretrained: spec,
    source: store("run_x"),
    own: store("run_p"),
    computing: { threads: 2, device: "wasm" },
    report,
  });
  if (!("result" in probed)) throw new Error("stopped");
  expect(probed.result.baselines?.pixels.top1).toBeGreaterThan(0.95);
  const { png } = await contactSheet(await loadDataset(spec.dataset, report), spec, [0, 1], [0]);
  expect(await sharp(png).metadata()).toMatchObject({ format: "png", space: "srgb" });
});
