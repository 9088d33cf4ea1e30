/** The probe job: how good is a frozen encoder, beside the encoder it started as and the raw pixels? */

import type { Images } from "../data/types.ts";
import { knn, type Labelled } from "../evaluate/knn.ts";
import { linearProbe, type ProbeResult } from "../evaluate/linear_probe.ts";
import type { PretrainSpec } from "../spec/pretrain.ts";
import type { ProbeSpec } from "../spec/probe.ts";
import type { RunFolder } from "../store/run_folder.ts";
import { FileError } from "../util/errors.ts";
import { restoreCheckpoint } from "./checkpoint.ts";
import type { Reporter } from "./pretrain.ts";
import { labelled, labelsOf, openSession } from "./session.ts";

export interface ProbeJobResult extends ProbeResult {
  knn: number;
  step: number;
  trainImages: number;
  testImages: number;
  device: string;
  threads: number;
  seconds: number;
  baselines: { pixels: ProbeResult; untrained: ProbeResult & { knn: number } } | null;
}

/** Pixels of some images as features in [0, 1], f32[N, H*W*C]. */
function pixelFeatures(images: Images, indices: Int32Array): Float32Array {
  const dim = images.height * images.width * images.channels;
  const out = new Float32Array(indices.length * dim);
  indices.forEach((index, row) => {
    const from = index * dim;
    for (let i = 0; i < dim; i++) out[row * dim + i] = (images.pixels[from + i] as number) / 255;
  });
  return out;
}

/**
 * Trains on the training images that were not held out, tests on the test images. Throws FileError where labels or
 * test images are missing. Between its parts it looks whether it should stop; it starts anew when run again.
 */
export async function probe(
  spec: ProbeSpec,
  pretrained: PretrainSpec,
  source: RunFolder,
  threads: number,
  report: Reporter,
): Promise<{ stopped: "cancel" | "shutdown" } | { result: ProbeJobResult }> {
  const startedAt = performance.now();
  const session = await openSession(pretrained, threads, report, spec.dataset ?? pretrained.dataset);
  try {
    const { dataset, model, parts } = session;
    const { test, train } = dataset;
    if (!test) throw new FileError(dataset.name, "a probe needs test images: give spec.dataset.test");
    const everything = Int32Array.from({ length: test.count }, (_, i) => i);
    labelsOf(dataset, train, parts.train); // fails before anything is computed
    labelsOf(dataset, test, everything);
    const classes = dataset.classes.length;
    const dim = model.encoder.features;

    const judge = async (): Promise<ProbeResult & { knn: number }> => {
      const bank: Labelled = await labelled(session, "backbone", dim, train, parts.train);
      const queries: Labelled = await labelled(session, "backbone", dim, test, everything);
      return { ...linearProbe(bank, queries, dim, classes, spec), knn: knn(bank, queries, dim, classes, spec.knn) };
    };
    const pixels = (): ProbeResult => {
      const size = train.height * train.width * train.channels;
      const of = (images: Images, indices: Int32Array) => ({
        features: pixelFeatures(images, indices),
        labels: labelsOf(dataset, images, indices),
      });
      return linearProbe(of(train, parts.train), of(test, everything), size, classes, spec);
    };

    let stop = report.stopRequested();
    if (stop) return { stopped: stop };
    // The model is untrained until the checkpoint is restored.
    const baselines = spec.baselines ? { untrained: await judge(), pixels: pixels() } : null;
    stop = report.stopRequested();
    if (stop) return { stopped: stop };
    const found = source.readCheckpoint(report.log);
    if (!found) throw new FileError(source.path, "holds no checkpoint");
    const { step } = restoreCheckpoint(found.bytes, found.record.file, pretrained, model.encoder, model.state);
    const result: ProbeJobResult = {
      ...(await judge()),
      step,
      trainImages: parts.train.length,
      testImages: test.count,
      device: "wasm",
      threads,
      seconds: (performance.now() - startedAt) / 1000,
      baselines,
    };
    return { result };
  } finally {
    session.pool.close();
  }
}
