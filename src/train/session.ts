/** A dataset, a model and the threads that work on them: what training and evaluation share. */

import { loadDataset } from "../data/index.ts";
import { partition } from "../data/partition.ts";
import { openSource, PLACE } from "../data/source.ts";
import { type DataContext, type Dataset, type Images, isHeld } from "../data/types.ts";
import type { Look } from "../data/view.ts";
import type { Computing, Engine } from "../engine/engine.ts";
import { openEngine, type Tapes } from "../engine/open.ts";
import type { Model } from "../engine/state.ts";
import type { Features } from "../engine/threads/tasks.ts";
import type { Labelled } from "../evaluate/knn.ts";
import { colourFields, noColours } from "../schema/colours.ts";
import type { DatasetSpec } from "../schema/dataset.ts";
import type { TrainSpec } from "../schema/pretrain.ts";
import type { TokenTable } from "../text/table.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { FileError, UserError } from "../util/errors.ts";

/** The texts of the training images, as tokens. */
export interface SessionTexts {
  readonly tokenizer: Tokenizer;
  readonly table: TokenTable;
  /** Of each row of the table, the number of its text among the different ones. */
  readonly different: Int32Array;
}

export interface Session {
  readonly spec: TrainSpec;
  readonly dataset: Dataset;
  readonly model: Model;
  readonly engine: Engine;
  /** Dataset indices that may be trained on, and those held out for the monitor. */
  readonly parts: { train: Int32Array; holdout: Int32Array };
  /** Of a method on pairs, once it is known which tokenizer. */
  readonly texts?: SessionTexts | undefined;
  readonly alive: () => void;
}

/** What a result says of the images that it is about. */
export interface DatasetUsed {
  train: number;
  /** Null: there are none. */
  test: number | null;
  classes: number;
  /** Images that could not be read. */
  skipped: number;
  /** Which parts were found, what is held out, what is left out. */
  notes: readonly string[];
}

export const datasetUsed = ({ train, test, classes, skipped, notes = [] }: Dataset): DatasetUsed => ({
  train: train.count,
  test: test?.count ?? null,
  classes: train.labels ? classes.length : 0,
  skipped,
  notes,
});

/** What a session needs besides its spec. */
export interface SessionOptions extends Computing {
  readonly context: DataContext;
  /** The images; unset: those of the spec. */
  readonly dataset?: DatasetSpec | undefined;
  /** Asked on WASM, for images of so many channels; unset: tapes are recomputed. */
  readonly tapes?: (channels: number) => Promise<Tapes>;
}

export async function openSession(spec: TrainSpec, options: SessionOptions): Promise<Session> {
  const { context } = options;
  const given = options.dataset ?? spec.dataset;
  return sessionOver(spec, await loadDataset(given, context), given.images, options);
}

/** The same over a dataset that is loaded already: fine-tuning has another head on the same images. */
export async function sessionOver(
  spec: TrainSpec,
  dataset: Dataset,
  images: number | undefined,
  options: SessionOptions,
): Promise<Session> {
  const { train, mean, std } = dataset;
  const colours = colourFields(spec.augmentation, train.channels);
  if (colours.length > 0) {
    const got = colours.map(([field, value]) => `spec.augmentation.${field}: got ${value}`).join(", ");
    throw new UserError(`${got}; allowed: ${noColours(train.channels)}`);
  }
  const parts = partition(train.count, spec.monitor.holdout, images, spec.seed);
  const { tapes } = options;
  const { model, engine } = await openEngine(
    spec,
    { channels: train.channels, valueBytes: train.valueBytes, mean, std },
    options,
    options.context,
    tapes && (() => tapes(train.channels)),
  );
  const { alive = () => undefined } = options.context;
  return { spec, dataset, model, engine, parts, alive };
}

/** Throws UserError where the images do not fill one batch. */
export function expectBatch({ dataset, parts }: Session, batchSize: number): void {
  if (parts.train.length >= batchSize) return;
  throw new UserError(
    `spec.batchSize: ${dataset.name} leaves ${parts.train.length} images to train on, got ${batchSize}`,
  );
}

export interface Embedding {
  readonly what: Features;
  /** Of a ViT, for the backbone's features: so many of its last blocks, side by side. Unset: 1. */
  readonly blocks?: number;
  /** Unset: the whole image. */
  readonly look?: Look;
  /** Side of the views in pixels; unset: that of the spec. */
  readonly size?: number;
}

const WHOLE: Look = { kind: "centre", share: 1 };
/** Images of one task: many, so that threads rarely meet; few where they are decoded for it, to bound the memory. */
export const groupSize = (images: Images) => (isHeld(images) ? 8192 : 256);

/** Dimension of the features of `embedding`. */
export function dimensionOf(
  { model, spec }: Session,
  { what, blocks = 1, size = spec.augmentation.size }: Embedding,
): number {
  const { features, dim, channels } = model.trained;
  if (what === "backbone") return features * blocks;
  return what === "projection" ? dim : size * size * channels;
}

/** How an embedding continues, and what it calls between groups of images. */
export interface EmbedOptions {
  /** f32[N, F] of which the first `rows` are known; a whole number of groups. */
  readonly begun?: { features: Float32Array; rows: number };
  /** Images of a group; unset: see `groupSize`. */
  readonly group?: number | undefined;
  /** Awaited after every group with the rows that are known; may throw to stop. */
  readonly turn?: (rows: number) => Promise<void>;
  /** Calls `turn` at once when it resolves: the group in hand is given up where `turn` throws. */
  readonly stopping?: Promise<unknown> | undefined;
}

/** Features of the query encoder, as it is now, for some images. f32[N, F] */
export async function embed(
  session: Session,
  images: Images,
  indices: Int32Array,
  embedding: Embedding,
  { begun, group: size = groupSize(images), turn = async () => undefined, stopping }: EmbedOptions = {},
): Promise<Float32Array> {
  const { engine, spec, alive } = session;
  const { what, blocks = 1, look = WHOLE, size: side = spec.augmentation.size } = embedding;
  const dim = dimensionOf(session, embedding);
  const group = (step: number) => {
    const part = indices.subarray(step * size, (step + 1) * size);
    return part.length > 0 ? part : undefined;
  };
  const source = openSource(images, group, size);
  const shared = <T extends Int32Array | Float32Array | Float64Array>(
    make: new (buffer: SharedArrayBuffer) => T,
    length: number,
    width: number,
  ) => new make(new SharedArrayBuffer(length * width));
  const all = begun?.features ?? new Float32Array(indices.length * dim);
  const known = begun?.rows ?? 0;
  if (known === indices.length) return all;
  for (let step = known / size; ; step++) {
    const part = group(step);
    if (!part) return all;
    const places = shared(Float64Array, part.length * PLACE, 8);
    await source.at(step, places);
    const wanted = shared(Int32Array, part.length, 4);
    wanted.set(part);
    const out = shared(Float32Array, part.length * dim, 4);
    const { pixels } = source;
    const work = engine.embed({ kind: "embed", what, blocks, size: side, look, pixels, places, indices: wanted, out });
    // A GPU's group is short, and its device must not be closed in the middle of one.
    if (stopping && engine.device === "wasm") {
      const stopped = await Promise.race([work.then(() => false), stopping.then(() => true)]);
      if (stopped) await turn(step * size);
    }
    await work;
    all.set(out, step * size * dim);
    alive();
    await turn(Math.min((step + 1) * size, indices.length));
  }
}

export function labelsOf(dataset: Dataset, images: Images, indices: Int32Array): Int32Array {
  const { labels } = images;
  if (!labels) throw new FileError(dataset.name, "labels are needed here, and these images have none (class = folder)");
  return indices.map((index) => labels[index] as number);
}

/** Features and labels of some images. Throws FileError where there are no labels. */
export async function labelled(
  session: Session,
  images: Images,
  indices: Int32Array,
  embedding: Embedding,
): Promise<Labelled> {
  const labels = labelsOf(session.dataset, images, indices);
  return { features: await embed(session, images, indices, embedding), labels };
}
