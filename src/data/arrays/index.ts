/** Arrays of images as a dataset: .npy, .npz as NumPy, Keras and MedMNIST write them, HDF5 as PCam's, IDX as MNIST's. */
import type { DatasetSpec } from "../../schema/dataset.ts";
import { FileError } from "../../util/errors.ts";
import { heldOut, heldOutNote } from "../hold_out.ts";
import { type DataContext, type Dataset, type HeldImages, type Images, isHeld, sharedBytes } from "../types.ts";
import type { ArrayFile } from "./array_file.ts";
import { layoutOf } from "./layout.ts";
import { expectName, findName, IMAGES, LABELS, TESTS } from "./names.ts";
import type { NumberArray } from "./npy.ts";
import { openArrays } from "./read.ts";
import { MOST_HELD, sampled, streamedImages, subsetOf } from "./streamed.ts";

type ArraySpec = Extract<DatasetSpec, { kind: "array" }>;

/** u8[N,H,W,C]. Throws FileError for another type or shape, which it names. */
function imagesOf(file: string, array: NumberArray, labels: Int32Array | undefined): HeldImages {
  const { turn, ...sides } = layoutOf(file, array, labels);
  const pixels = sharedOf(array.values as Uint8Array);
  turn(pixels);
  return { pixels, labels, ...sides };
}

/** The values themselves where they are in shared memory already, as HDF5's are. */
function sharedOf(values: Uint8Array): Uint8Array<SharedArrayBuffer> {
  if (values.buffer instanceof SharedArrayBuffer) return values as Uint8Array<SharedArrayBuffer>;
  const pixels = sharedBytes(values.length);
  pixels.set(values);
  return pixels;
}

/** Whole numbers [N] or [N,1,…], which name the classes. */
function labelsOf(file: string, { shape, values }: NumberArray): Int32Array {
  if (shape.length === 0 || shape.slice(1).some((side) => side !== 1)) {
    throw new FileError(file, `has labels of shape [${shape.join(",")}]; allowed: [N] or [N,1]`);
  }
  return Int32Array.from(values);
}

interface Part {
  readonly path: string;
  readonly file: ArrayFile;
  readonly images: string;
  readonly labels: string | undefined;
  /** A file of labels, which goes before what the images' file has. */
  readonly own?: string | undefined;
}

/**
 * @param mostHeld Bytes of a part above which its images are read when they are needed, where the format allows it.
 * @throws FileError for files that are not there, no arrays, or of another type or shape.
 */
export async function loadArrays(spec: ArraySpec, { log, alive }: DataContext, mostHeld = MOST_HELD): Promise<Dataset> {
  const open = (path: string) => openArrays(path, { alive });
  const partOf = async ({ path, file, images, labels, own }: Part): Promise<Images> => {
    const from = own ? await open(own) : file;
    const name = own ? expectName(own, from.names, "labels", spec.arrays?.labels) : labels;
    const given = name === undefined ? undefined : labelsOf(own ?? path, await from.read(name));
    const rows = await file.rows?.(images);
    if (rows && rows.shape.reduce((a, b) => a * b, 1) > mostHeld) {
      log(`${path}: ${images} is streamed`);
      return streamedImages(rows, layoutOf(path, rows, given), given);
    }
    rows?.close();
    return imagesOf(path, await file.read(images), given);
  };
  const file = await open(spec.path);
  const images = expectName(spec.path, file.names, "images", spec.arrays?.images);
  const chosen =
    spec.arrays?.labels !== undefined && !spec.labels
      ? expectName(spec.path, file.names, "labels", spec.arrays.labels)
      : undefined;
  const beside = LABELS.filter((name) => name !== images);
  const labels = chosen ?? findName(file.names, beside);
  const all = await partOf({ path: spec.path, file, images, labels, own: spec.labels });
  const share = spec.holdout ?? 0;
  const inside = spec.arrays?.images ? undefined : TESTS.find(([name]) => file.names.includes(name));
  const notes: string[] = [];
  let [train, test]: [Images, Images | undefined] = [all, undefined];
  if (spec.test) {
    const other = await open(spec.test);
    const known = [...IMAGES, ...TESTS.map(([of]) => of)];
    test = await partOf({
      path: spec.test,
      file: other,
      images: expectName(spec.test, other.names, "images", spec.arrays?.images, known),
      labels: findName(other.names, [...TESTS.map(([, of]) => of), ...LABELS.filter(Boolean)]),
      own: spec.testLabels,
    });
  } else if (inside) {
    const [name, own] = inside;
    test = await partOf({
      path: spec.path,
      file,
      images: name,
      labels: file.names.includes(own) ? own : undefined,
    });
    notes.push(`${images} is what is trained on (${all.count} images), ${name} the test part (${test.count})`);
  } else if (all.labels && share > 0 && new Set(all.labels).size > 1) {
    const held = heldOut([...all.labels], share);
    [train, test] = parted(all, held);
    notes.push(heldOutNote(held.size, all.count, share));
  }
  for (const note of notes) log(`${spec.path}: ${note}`);
  const found = [...new Set([...(all.labels ?? []), ...(test?.labels ?? [])])].sort((a, b) => a - b);
  const indexOf = new Map(found.map((label, index) => [label, index]));
  const numbered = <I extends Images | undefined>(part: I): I =>
    part?.labels ? { ...part, labels: part.labels.map((label) => indexOf.get(label) as number) } : part;
  return {
    name: spec.path,
    train: numbered(train),
    test: numbered(test),
    classes: found.map(String),
    ...(await moments(train)),
    skipped: 0,
    notes,
  };
}

/** The images without those that are held out, and those. Held ones are moved together in the memory that they have. */
function parted(all: Images, held: ReadonlySet<number>): [rest: Images, held: Images] {
  const indicesOf = (wanted: boolean) =>
    Array.from({ length: all.count }, (_, i) => i).filter((i) => held.has(i) === wanted);
  if (!isHeld(all)) return [subsetOf(all, indicesOf(false)), subsetOf(all, indicesOf(true))];
  const bytes = all.height * all.width * all.channels;
  const into = (pixels: Uint8Array<SharedArrayBuffer>, indices: readonly number[]): HeldImages => {
    for (const [to, i] of indices.entries()) pixels.set(all.pixels.subarray(i * bytes, (i + 1) * bytes), to * bytes);
    const labels = all.labels && Int32Array.from(indices, (i) => (all.labels as Int32Array)[i] as number);
    return { ...all, pixels, labels, count: indices.length };
  };
  const test = into(sharedBytes(held.size * bytes), indicesOf(true));
  // Each image moves to where it is or to an earlier place, which has been moved away already.
  return [into(all.pixels.subarray(0, (all.count - held.size) * bytes), indicesOf(false)), test];
}

/** Adds values and their squares to the sums of their channel. A loop of its own: in an async function it is not compiled as well. */
function add(pixels: Uint8Array, sum: Float64Array, square: Float64Array): void {
  const channels = sum.length;
  for (let i = 0, c = 0; i < pixels.length; i++) {
    const v = pixels[i] as number;
    sum[c] = (sum[c] as number) + v;
    square[c] = (square[c] as number) + v * v;
    c = c + 1 === channels ? 0 : c + 1;
  }
}

/** Indices above 2^31 are no integers to JavaScriptCore, and thirty times as slow. */
function* blocksOf(pixels: Uint8Array, channels: number): Generator<Uint8Array> {
  const size = channels * 2 ** 24;
  for (let at = 0; at < pixels.length; at += size) yield pixels.subarray(at, at + size);
}

/** Mean and deviation of each channel, in [0, 1]: of all held images, and of some of those that are streamed. */
async function moments(images: Images): Promise<{ mean: number[]; std: number[] }> {
  const { channels } = images;
  const [sum, square] = [new Float64Array(channels), new Float64Array(channels)];
  let values = 0;
  for await (const pixels of isHeld(images) ? blocksOf(images.pixels, channels) : sampled(images)) {
    add(pixels, sum, square);
    values += pixels.length;
  }
  const count = values / channels;
  const mean = Array.from(sum, (of) => of / count / 255);
  // Images of one grey have no deviation; they are not divided by it.
  const std = Array.from(
    square,
    (of, c) => Math.sqrt(Math.max(0, of / count / 65_025 - (mean[c] as number) ** 2)) || 1,
  );
  return { mean, std };
}
