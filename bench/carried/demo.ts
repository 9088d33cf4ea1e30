/** The authors' CIFAR-10 demo as a spec: ResNet-18, linear head, K 4096, m 0.99, T 0.1, SGD 0.06 with cosine, 200 epochs of 97 steps. */
import { parseSpec } from "../../src/schema/job.ts";
import type { PretrainSpec } from "../../src/schema/pretrain.ts";

/** The demo drops what does not fill a batch of 512 from each epoch: 336 of 50,000 images. Here the same ones are held out. */
const DROPPED = 336;

export interface DemoSettings {
  /** Folder of the binary files. */
  readonly path: string;
  readonly device: string;
  readonly epochs: number;
  readonly batch: number;
  readonly width: number;
  /** Images to train on; unset: all. */
  readonly images?: number | undefined;
  /** Epochs between two checkpoints that stay. */
  readonly every: number;
}

export const demoSpec = ({ path, device, epochs, batch, width, images, every }: DemoSettings): PretrainSpec =>
  parseSpec("pretrain", {
    preset: "cifar",
    method: "moco-v2",
    dataset: { kind: "cifar10", path, ...(images !== undefined && { images }) },
    encoder: { width },
    batchSize: batch,
    epochs,
    device,
    precision: "mixed",
    logEvery: 100,
    // Measured on test images instead, as the demo does: see curve.ts.
    monitor: { everyEpochs: 0, holdout: DROPPED },
    checkpoint: { everyEpochs: every, everyMinutes: 3, keepLast: 1, keepBest: false, keepEvery: every },
  });
