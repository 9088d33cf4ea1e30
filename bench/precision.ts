/**
 * Whether mixed precision learns what float32 does: Fashion-MNIST, the same seeds in both on WebGPU, and on WASM. kNN top-1 of
 * the untrained and of the trained encoder on held-out images.
 *
 *     bun bench/precision.ts [--seeds 2] [--images 3000] [--epochs 3] [--width 8] [--size 16] [--batch 64] [--devices webgpu,wasm]
 *
 * The defaults suit a software adapter; on a GPU take more of everything.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseSpec } from "../src/schema/job.ts";
import { LocalBlobs } from "../src/store/local_blobs.ts";
import { RunStore } from "../src/store/run_store.ts";
import { pretrain } from "../src/train/pretrain.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "2" },
    images: { type: "string", default: "3000" },
    epochs: { type: "string", default: "3" },
    width: { type: "string", default: "8" },
    size: { type: "string", default: "16" },
    batch: { type: "string", default: "64" },
    devices: { type: "string", default: "webgpu,wasm" },
  },
});
const number = (name: Exclude<keyof typeof values, "devices">) => Number(values[name]);
const sides = values.devices
  .split(",")
  .flatMap((device) =>
    (device === "wasm" ? ["float32"] : ["float32", "mixed"]).map((precision) => ({ device, precision })),
  );
const data = mkdtempSync(join(tmpdir(), "mocod-precision-"));
try {
  for (let seed = 0; seed < number("seeds"); seed++) {
    for (const { device, precision } of sides) {
      const spec = parseSpec("pretrain", {
        dataset: { kind: "fashion-mnist", images: number("images") },
        seed,
        precision,
        epochs: number("epochs"),
        batchSize: number("batch"),
        splits: 4,
        queueSize: 1024,
        momentum: 0.99,
        encoder: { arch: "resnet10", stem: "cifar", width: number("width") },
        augmentation: { size: number("size"), flip: 0 },
        monitor: { everyEpochs: number("epochs"), bank: 1000, holdout: 500, k: 20 },
      });
      const run = new RunStore(new LocalBlobs(data), `run_${device}_${precision}_${seed}`);
      const outcome = await pretrain(
        spec,
        run,
        { threads: 1, device: device as "webgpu" | "wasm" },
        {
          cache: data,
          log: (message) => console.error(message),
          progress: () => undefined,
          stopRequested: () => undefined,
        },
      );
      if (!("result" in outcome)) throw new Error("nobody asked it to stop");
      const { untrainedKnn, knn, loss, seconds } = outcome.result;
      const share = (v: number | null) => (100 * (v ?? Number.NaN)).toFixed(1);
      console.log(
        `${device} ${precision} seed ${seed}: kNN ${share(untrainedKnn)} -> ${share(knn)}, loss ${loss.toFixed(4)}, ${seconds.toFixed(0)} s`,
      );
    }
  }
} finally {
  rmSync(data, { recursive: true });
}
process.exit(0);
