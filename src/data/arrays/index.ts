/** Arrays of images as a dataset: .npy, .npz as NumPy, Keras and MedMNIST write them, IDX as MNIST's. */
import type { DatasetSpec } from "../../schema/dataset.ts";
import { FileError } from "../../util/errors.ts";
import { heldOut, heldOutNote } from "../hold_out.ts";
import { type DataContext, type Dataset, type HeldImages, sharedBytes } from "../types.ts";
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

/**
 * u8[N,H,W,C] of [N,H,W], [N,H,W,C] or [N,C,H,W].
 *
 * @throws FileError for another type or shape, which it names.
 */
function imagesOf(file: string, { shape, type, values }: NumberArray, labels: Int32Array | undefined): HeldImages {
  const refuse = (got: string) =>
    new FileError(file, `has ${got}; allowed: 8-bit images [N,H,W], [N,H,W,C] or [N,C,H,W] of 1 or 3 channels`);
  if (!(values instanceof Uint8Array)) throw refuse(`numbers of type ${type}`);
  if (shape.length !== 3 && shape.length !== 4) throw refuse(`the shape [${shape.join(",")}]`);
  const [count, a, b, c = 1] = shape as [number, number, number, number | undefined];
  const isColour = (channels: number) => channels === 1 || channels === 3;
  const first = shape.length === 4 && !isColour(c);
  const [height, width, channels] = first ? [b, c, a] : [a, b, c];
  if (!isColour(channels) || count === 0) throw refuse(`the shape [${shape.join(",")}]`);
  if (labels && labels.length !== count) throw new FileError(file, `has ${count} images and ${labels.length} labels`);
  const pixels = sharedBytes(values.length);
  if (!first) pixels.set(values);
  else {
    const plane = height * width;
    for (let i = 0; i < count; i++) {
      for (let k = 0; k < channels; k++) {
        const from = (i * channels + k) * plane;
        for (let p = 0; p < plane; p++) pixels[(i * plane + p) * channels + k] = values[from + p] as number;
      }
    }
  }
  return { pixels, labels, count, height, width, channels };
}

/** Whole numbers [N] or [N,1], which name the classes. */
function labelsOf(file: string, { shape, values }: NumberArray): Int32Array {
  if (shape.length > 2 || (shape.length === 2 && shape[1] !== 1)) {
    throw new FileError(file, `has labels of shape [${shape.join(",")}]; allowed: [N] or [N,1]`);
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
): Promise<HeldImages> {
  const given = own ? await (await openArrays(own)).read("") : labels === undefined ? undefined : await of.read(labels);
  return imagesOf(file, await of.read(images), given && labelsOf(own ?? file, given));
}

/** Throws FileError for files that are not there, no arrays, or of another type or shape. */
export async function loadArrays(spec: ArraySpec, { log }: DataContext): Promise<Dataset<HeldImages>> {
  const file = await openArrays(spec.path);
  const has = (names: readonly string[]) => names.find((name) => file.names.includes(name));
  const images = has(IMAGES);
  if (images === undefined) {
    throw new FileError(
      spec.path,
      `has the arrays ${file.names.join(", ")}; none of them is called ${IMAGES.filter(Boolean).join(", ")}`,
    );
  }
  const all = await partOf(spec.path, file, { images, labels: has(LABELS) }, spec.labels);
  const share = spec.holdout ?? 0;
  const inside = TESTS.find(([name]) => file.names.includes(name));
  const notes: string[] = [];
  let [train, test]: [HeldImages, HeldImages | undefined] = [all, undefined];
  if (spec.test) {
    const other = await openArrays(spec.test);
    test = await partOf(spec.test, other, { images: other.names[0] as string, labels: undefined }, spec.testLabels);
  } else if (inside) {
    const [name, labels] = inside;
    test = await partOf(
      spec.path,
      file,
      { images: name, labels: file.names.includes(labels) ? labels : undefined },
      undefined,
    );
    notes.push(`${images} is what is trained on (${all.count} images), ${name} the test part (${test.count})`);
  } else if (all.labels && share > 0 && new Set(all.labels).size > 1) {
    const held = heldOut([...all.labels], share);
    train = select(all, (i) => !held.has(i));
    test = select(all, (i) => held.has(i));
    notes.push(heldOutNote(held.size, all.count, share));
  }
  for (const note of notes) log(`${spec.path}: ${note}`);
  const found = [...new Set([...(all.labels ?? []), ...(test?.labels ?? [])])].sort((a, b) => a - b);
  const indexOf = new Map(found.map((label, index) => [label, index]));
  const numbered = <I extends HeldImages | undefined>(part: I): I =>
    part?.labels ? { ...part, labels: part.labels.map((label) => indexOf.get(label) as number) } : part;
  return {
    name: spec.path,
    train: numbered(train),
    test: numbered(test),
    classes: found.map(String),
    ...moments(train),
    skipped: 0,
    notes,
  };
}

function select(of: HeldImages, wanted: (index: number) => boolean): HeldImages {
  const indices = Array.from({ length: of.count }, (_, i) => i).filter(wanted);
  const bytes = of.height * of.width * of.channels;
  const pixels = sharedBytes(indices.length * bytes);
  for (const [to, i] of indices.entries()) pixels.set(of.pixels.subarray(i * bytes, (i + 1) * bytes), to * bytes);
  const labels = of.labels && Int32Array.from(indices, (i) => (of.labels as Int32Array)[i] as number);
  return { ...of, pixels, labels, count: indices.length };
}

/** Mean and deviation of each channel, in [0, 1]. */
function moments({ pixels, channels }: HeldImages): { mean: number[]; std: number[] } {
  const [sum, square] = [Array(channels).fill(0) as number[], Array(channels).fill(0) as number[]];
  for (let i = 0; i < pixels.length; i++) {
    const [c, v] = [i % channels, pixels[i] as number];
    sum[c] = (sum[c] as number) + v;
    square[c] = (square[c] as number) + v * v;
  }
  const count = pixels.length / channels;
  const mean = sum.map((of) => of / count / 255);
  // Images of one grey have no deviation; they are not divided by it.
  const std = square.map((of, c) => Math.sqrt(Math.max(0, of / count / 65_025 - (mean[c] as number) ** 2)) || 1);
  return { mean, std };
}
