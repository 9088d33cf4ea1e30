/**
 * `npm run test:interop`: what we export loads into the real torchvision with strict=True and gives the same features.
 * Needs Debian's python3-torch and python3-torchvision, so it is no part of `npm test`, which checks names, shapes and
 * (by goldens) the forward pass.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { startPosition } from "../../src/engine/metrics.ts";
import { createModel, trainedParams, trainedStats } from "../../src/engine/state.ts";
import { exportCheckpoint } from "../../src/exchange/export.ts";
import { openDevice } from "../../src/kernels/index.ts";
import { parseSpec } from "../../src/schema/job.ts";
import { encodeNpy } from "../../src/store/npy.ts";
import { encodeCheckpoint } from "../../src/train/checkpoint.ts";
import { hashedPixels } from "../golden/formulas.ts";

const [N, SIDE, TOLERANCE] = [4, 64, 1e-5];
const python = process.env.PYTHON ?? "/usr/bin/python3";

const encoders = [
  ...(["resnet18", "resnet34", "resnet50"] as const).map((arch) => ({ arch, stem: "imagenet", width: 64 })),
  { arch: "vit-tiny", patch: 16, depth: 3 },
  { arch: "vit-small", patch: 8, depth: 2, position: "learned" },
] as const;

await openDevice();
const folder = mkdtempSync(join(tmpdir(), "mocod-interop-"));
const pixels = Float32Array.from(hashedPixels(N, SIDE), (v) => (v / 255 - 0.45) / 0.25);
const file = (name: string) => join(folder, name);
let failed = 0;
try {
  writeFileSync(file("images.npy"), encodeNpy([N, SIDE, SIDE, 3], pixels));
  for (const encoder of encoders) {
    const { arch } = encoder;
    const spec = parseSpec("pretrain", {
      preset: "imagenet",
      method: "moco-v3",
      dataset: { kind: "folder", path: "/" },
      augmentation: { size: SIDE },
      ...{ hidden: 64, dim: 16, batchSize: 16, splits: 1 },
      encoder,
    });
    const model = createModel(spec, 3, 1);
    const { trained } = model;
    const [params, stats] = [trainedParams(model), trainedStats(model)];
    // Statistics that are not the initial ones, and leave the ReLUs alive.
    for (const { name, offset, size } of trained.stats.entries) {
      const isMean = name.endsWith("running_mean");
      for (let i = offset; i < offset + size; i++) stats[i] = (isMean ? 0 : 0.7) + (isMean ? 0.1 : 0.3) * Math.sin(i);
    }
    const checkpoint = encodeCheckpoint(model, startPosition(spec, []));
    writeFileSync(
      file("encoder.safetensors"),
      exportCheckpoint(checkpoint, "x", spec, "torchvision", "trained")[0].bytes,
    );
    const of = (
      values: Float32Array,
      { offset, size, shape }: { offset: number; size: number; shape: readonly number[] },
    ) => tf.tensor(values.subarray(offset, offset + size), [...shape]);
    const features = tf.tidy(() =>
      trained.backbone(
        {
          param: (name) => of(params, trained.params.get(name)),
          norm: { mode: "eval", stat: (name) => of(stats, trained.stats.get(name)) },
        },
        tf.tensor4d(pixels, [N, SIDE, SIDE, 3]),
      ),
    );
    writeFileSync(file("features.npy"), encodeNpy([N, trained.features], features.dataSync() as Float32Array));
    features.dispose();
    const script = join(import.meta.dir, "load.py");
    const args = [JSON.stringify(spec.encoder), file("encoder.safetensors"), file("images.npy"), file("features.npy")];
    const { stdout, exitCode } = Bun.spawnSync([python, script, ...args], { stdio: ["ignore", "pipe", "inherit"] });
    const [loaded, error] = stdout.toString().trim().split("\n");
    const good = exitCode === 0 && Number(error) < TOLERANCE;
    if (!good) failed++;
    console.log(`${good ? "(pass)" : "(fail)"} ${arch}: ${loaded}, relative error ${error}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${encoders.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
