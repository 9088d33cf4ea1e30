/** A dataset, a model and the threads that work on them: what pretraining and probing share. */
import { loadDataset, partition } from "../data/index.ts";
import type { DataContext, Dataset, Images } from "../data/types.ts";
import type { Labelled } from "../evaluate/knn.ts";
import { openDevice } from "../kernels/index.ts";
import type { DatasetSpec } from "../spec/dataset.ts";
import type { PretrainSpec } from "../spec/pretrain.ts";
import { FileError, UserError } from "../util/errors.ts";
import { Pool } from "./pool.ts";
import { createModel, type Model } from "./state.ts";

export interface Session {
  readonly dataset: Dataset;
  readonly model: Model;
  readonly pool: Pool;
  /** Dataset indices that may be trained on, and those held out for the monitor. */
  readonly parts: { train: Int32Array; holdout: Int32Array };
}

export async function openSession(
  spec: PretrainSpec,
  threads: number,
  context: DataContext,
  probed: DatasetSpec = spec.dataset,
): Promise<Session> {
  await openDevice();
  const dataset = await loadDataset(probed, context);
  const { train } = dataset;
  const parts = partition(train, spec.monitor.holdout, probed.images, spec.seed);
  if (parts.train.length < spec.batchSize && probed === spec.dataset) {
    throw new UserError(
      `spec.batchSize: ${dataset.name} leaves ${parts.train.length} images to train on, got ${spec.batchSize}`,
    );
  }
  const model = createModel(spec, train.channels, threads);
  const { state, buffers, slots } = model;
  const { mean, std } = dataset;
  const pool = await Pool.open({ spec, state, buffers, slots, images: train, mean, std, threads });
  return { dataset, model, pool, parts };
}

/** Features of the query encoder, as it is now, for some images. f32[N, F] */
export async function embed(
  { pool }: Session,
  what: "backbone" | "projection",
  dim: number,
  images: Images,
  indices: Int32Array,
): Promise<Float32Array> {
  const shared = new Int32Array(new SharedArrayBuffer(indices.byteLength));
  shared.set(indices);
  const out = new Float32Array(new SharedArrayBuffer(indices.length * dim * 4));
  await pool.run({ kind: "embed", what, images, indices: shared, out });
  return new Float32Array(out);
}

export function labelsOf(dataset: Dataset, images: Images, indices: Int32Array): Int32Array {
  const { labels } = images;
  if (!labels) throw new FileError(dataset.name, "labels are needed here, and these images have none (class = folder)");
  return indices.map((index) => labels[index] as number);
}

/** Features and labels of some images. Throws FileError where there are no labels. */
export async function labelled(
  session: Session,
  what: "backbone" | "projection",
  dim: number,
  images: Images,
  indices: Int32Array,
): Promise<Labelled> {
  const labels = labelsOf(session.dataset, images, indices);
  return { features: await embed(session, what, dim, images, indices), labels };
}
