/** Arrays of images as a dataset: .npy, .npz as NumPy, Keras and MedMNIST write them, IDX as MNIST's. */
import { isBands } from "../../schema/colours.ts";
import type { DatasetSpec, RangeSetting } from "../../schema/dataset.ts";
import { FileError } from "../../util/errors.ts";
import { chosen, noteOf, rangesOf, thinned } from "../deep/depth.ts";
import { toLevels } from "../deep/levels.ts";
import { type NumberImage, type NumberValues, type Range, rangeOfType } from "../deep/types.ts";
import { heldOut, heldOutNote } from "../hold_out.ts";
import { Moments } from "../moments.ts";
import { type DataContext, type Dataset, type HeldImages, levelsIn, sharedBytes, type ValueBytes } from "../types.ts";
import type { NumberArray } from "./npy.ts";
import { type ArrayFile, openArrays } from "./read.ts";

type ArraySpec = Extract<DatasetSpec, { kind: "array" }>;

/** Names of a .npz, the first one that is there. */
const IMAGES = ["train_images", "x_train", "X_train", "images", "x", "X", "data", "arr_0", ""];
const LABELS = ["train_labels", "y_train", "Y_train", "labels", "y", "Y", "targets"];
const TESTS = [
  ["test_images", "test_labels"],
  ["x_test", "y_test"],
  ["X_test", "Y_test"],
  ["val_images", "val_labels"],
  ["x_val", "y_val"],
] as const;

/** Images of one file as it has them: values[count, height, width, channels]. */
interface Part extends NumberImage {
  readonly count: number;
  readonly labels: Int32Array | undefined;
}

/** Channels that images may have. */
const MOST_CHANNELS = 64;

/** Whether the channels of four sides come right after the images: where those are 1 or 3, else fewer than are last. */
function channelsFirst([, first, , last]: readonly number[]): boolean {
  const isColour = (channels: number | undefined) => channels === 1 || channels === 3;
  return !isColour(last) && (isColour(first) || (first as number) < (last as number));
}

/**
 * Of [N,H,W], [N,H,W,C] or [N,C,H,W].
 *
 * @throws FileError for another shape, which it names.
 */
function imagesOf(file: string, { shape, values }: NumberArray, labels: Int32Array | undefined): Part {
  const refuse = () =>
    new FileError(
      file,
      `has the shape [${shape.join(",")}]; allowed: images [N,H,W], [N,H,W,C] or [N,C,H,W] of 1 to ${MOST_CHANNELS} channels`,
    );
  if (shape.length !== 3 && shape.length !== 4) throw refuse();
  const [count, a, b, c = 1] = shape as [number, number, number, number | undefined];
  const first = shape.length === 4 && channelsFirst(shape);
  const [height, width, channels] = first ? [b, c, a] : [a, b, c];
  if (channels > MOST_CHANNELS || values.length === 0) throw refuse();
  if (labels && labels.length !== count) throw new FileError(file, `has ${count} images and ${labels.length} labels`);
  const part = { labels, count, height, width, channels, range: rangeOfType(values) };
  if (!first) return { ...part, values };
  const last = new (values.constructor as new (length: number) => NumberValues)(values.length);
  const plane = height * width;
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < channels; k++) {
      const from = (i * channels + k) * plane;
      for (let p = 0; p < plane; p++) last[(i * plane + p) * channels + k] = values[from + p] as number;
    }
  }
  return { ...part, values: last };
}

/** The channels that are used. */
function banded(file: string, part: Part, bands: ArraySpec["bands"]): Part {
  const { count, height, channels } = part;
  const most = Math.max(0, ...(bands ?? []));
  if (most > channels) throw new FileError(file, `has ${channels} channels; bands asks for the ${most}th`);
  if (!bands) return part;
  const all = chosen(
    { ...part, height: count * height },
    bands.length,
    bands.map((band) => band - 1),
  );
  return { ...part, values: all.values, channels: all.channels };
}

/** How numbers become pixels: as bytes where they are such and have their own range, else as 16 bits. */
interface Scale {
  readonly ranges: readonly Range[] | undefined;
  readonly valueBytes: ValueBytes;
}

/** Pixels of the training images that say where 0 and 1 are. */
const SAMPLE = 2 ** 19;

function scaleOf(file: string, range: RangeSetting, train: Part): Scale {
  const sample = thinned({ ...train, height: train.count * train.height }, SAMPLE);
  return {
    ranges: rangesOf(file, range, [sample]),
    valueBytes: range === "dtype" && train.values instanceof Uint8Array ? 1 : 2,
  };
}

function heldOf(part: Part, { ranges, valueBytes }: Scale): HeldImages {
  const { labels, count, height, width, channels, values } = part;
  const pixels = sharedBytes(values.length * valueBytes);
  if (valueBytes === 1 && values instanceof Uint8Array) pixels.set(values);
  else {
    const levels = toLevels(part, ranges, valueBytes);
    pixels.set(new Uint8Array(levels.buffer, levels.byteOffset, levels.byteLength));
  }
  return { pixels, labels, count, height, width, channels, valueBytes };
}

/** Whole numbers [N] or [N,1], which name the classes. */
function labelsOf(file: string, { shape, type, values }: NumberArray): Int32Array {
  if (shape.length > 2 || (shape.length === 2 && shape[1] !== 1)) {
    throw new FileError(file, `has labels of shape [${shape.join(",")}]; allowed: [N] or [N,1]`);
  }
  if (!values.every((value) => value === (value | 0))) {
    throw new FileError(file, `has labels of type ${type}; allowed: whole numbers of up to 32 bits`);
  }
  return Int32Array.from(values);
}

interface Names {
  readonly images: string;
  readonly labels: string | undefined;
}

/** One part: `labels`, a file of its own, goes before what the images' file has. */
async function partOf(
  file: string,
  of: ArrayFile,
  { images, labels }: Names,
  own: string | undefined,
  bands: ArraySpec["bands"],
): Promise<Part> {
  const given = own ? await (await openArrays(own)).read("") : labels === undefined ? undefined : await of.read(labels);
  return banded(file, imagesOf(file, await of.read(images), given && labelsOf(own ?? file, given)), bands);
}

/** Throws FileError for files that are not there, no arrays, or of another type or shape. */
export async function loadArrays(spec: ArraySpec, { log }: DataContext): Promise<Dataset<HeldImages>> {
  const file = await openArrays(spec.path);
  const has = (names: readonly string[]) => names.find((name) => file.names.includes(name));
  const name = has(IMAGES);
  if (name === undefined) {
    throw new FileError(
      spec.path,
      `has the arrays ${file.names.join(", ")}; none of them is called ${IMAGES.filter(Boolean).join(", ")}`,
    );
  }
  const all = await partOf(spec.path, file, { images: name, labels: has(LABELS) }, spec.labels, spec.bands);
  const share = spec.holdout ?? 0;
  const inside = TESTS.find(([name]) => file.names.includes(name));
  const notes: string[] = [];
  let [train, test]: [Part, Part | undefined] = [all, undefined];
  if (spec.test) {
    const other = await openArrays(spec.test);
    test = await partOf(
      spec.test,
      other,
      { images: other.names[0] as string, labels: undefined },
      spec.testLabels,
      spec.bands,
    );
  } else if (inside) {
    const [tested, labels] = inside;
    test = await partOf(
      spec.path,
      file,
      { images: tested, labels: file.names.includes(labels) ? labels : undefined },
      undefined,
      spec.bands,
    );
    notes.push(`${name} is what is trained on (${all.count} images), ${tested} the test part (${test.count})`);
  } else if (all.labels && share > 0 && new Set(all.labels).size > 1) {
    const held = heldOut([...all.labels], share);
    train = select(all, (i) => !held.has(i));
    test = select(all, (i) => held.has(i));
    notes.push(heldOutNote(held.size, all.count, share));
  }
  if (test && test.channels !== train.channels) {
    throw new FileError(
      spec.test ?? spec.path,
      `has test images of ${test.channels} channels; those that are trained on have ${train.channels}`,
    );
  }
  const scale = scaleOf(spec.path, spec.range ?? "dtype", train);
  const isPlain = scale.valueBytes === 1 && !isBands(train.channels) && !spec.bands;
  if (!isPlain) notes.push(noteOf({ ...scale, channels: train.channels }, spec.bands, scale.ranges));
  for (const note of notes) log(`${spec.path}: ${note}`);
  const found = [...new Set([...(all.labels ?? []), ...(test?.labels ?? [])])].sort((a, b) => a - b);
  const indexOf = new Map(found.map((label, index) => [label, index]));
  const held = (part: Part): HeldImages => {
    const labels = part.labels?.map((label) => indexOf.get(label) as number);
    return heldOf({ ...part, labels }, scale);
  };
  const images = held(train);
  return {
    name: spec.path,
    train: images,
    test: test && held(test),
    classes: found.map(String),
    ...new Moments(images.channels, scale.valueBytes).add(levelsIn(images)).result(),
    skipped: 0,
    notes,
  };
}

function select(of: Part, wanted: (index: number) => boolean): Part {
  const indices = Array.from({ length: of.count }, (_, i) => i).filter(wanted);
  const size = of.height * of.width * of.channels;
  const values = new (of.values.constructor as new (length: number) => NumberValues)(indices.length * size);
  for (const [to, i] of indices.entries()) values.set(of.values.subarray(i * size, (i + 1) * size), to * size);
  const labels = of.labels && Int32Array.from(indices, (i) => (of.labels as Int32Array)[i] as number);
  return { ...of, values, labels, count: indices.length };
}
