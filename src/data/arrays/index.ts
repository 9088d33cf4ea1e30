/** Arrays of images as a dataset: .npy, .npz as NumPy, Keras and MedMNIST write them, HDF5 as PCam's, IDX as MNIST's. */
import { isBands } from "../../schema/colours.ts";
import type { DatasetSpec } from "../../schema/dataset.ts";
import { FileError } from "../../util/errors.ts";
import { noteOf } from "../deep/depth.ts";
import { heldOut, heldOutNote } from "../hold_out.ts";
import { Moments } from "../moments.ts";
import {
  type DataContext,
  type Dataset,
  type HeldImages,
  type Images,
  isHeld,
  levelsOf,
  pixelBytes,
  sharedBytes,
} from "../types.ts";
import type { ArrayFile } from "./array_file.ts";
import { channelsOf, imagesOf, type Numbers, numbersOf, scaleOf } from "./images.ts";
import { expectName, findName, IMAGES, LABELS, TESTS } from "./names.ts";
import { isBytes, type NumberArray } from "./npy.ts";
import { openArrays } from "./read.ts";
import { MOST_HELD, sampled, subsetOf } from "./streamed.ts";

type ArraySpec = Extract<DatasetSpec, { kind: "array" }>;

/** Whole numbers [N] or [N,1,…], which name the classes. */
function labelsOf(file: string, { shape, type, values }: NumberArray): Int32Array {
  if (shape.length === 0 || shape.slice(1).some((side) => side !== 1)) {
    throw new FileError(file, `has labels of shape [${shape.join(",")}]; allowed: [N] or [N,1]`);
  }
  if (!values.every((value) => value === (value | 0))) {
    throw new FileError(file, `has labels of type ${type}; allowed: whole numbers of up to 32 bits`);
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
  const partOf = async ({ path, file, images, labels, own }: Part): Promise<Numbers> => {
    const from = own ? await open(own) : file;
    const name = own ? expectName(own, from.names, "labels", spec.arrays?.labels) : labels;
    const given = name === undefined ? undefined : labelsOf(own ?? path, await from.read(name));
    const rows = await file.rows?.(images);
    // What is not of bytes is held as 16 bits.
    const numbers = rows?.shape.reduce((a, b) => a * b, 1) ?? 0;
    if (rows && numbers * (isBytes(rows.type) ? 1 : 2) > mostHeld) {
      log(`${path}: ${images} is streamed`);
      return numbersOf(path, rows, given, spec.bands);
    }
    rows?.close();
    return numbersOf(path, await file.read(images), given, spec.bands);
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
  let other: Numbers | undefined;
  let held: ReadonlySet<number> = new Set();
  if (spec.test) {
    const tests = await open(spec.test);
    const known = [...IMAGES, ...TESTS.map(([of]) => of)];
    other = await partOf({
      path: spec.test,
      file: tests,
      images: expectName(spec.test, tests.names, "images", spec.arrays?.images, known),
      labels: findName(tests.names, [...TESTS.map(([, of]) => of), ...LABELS.filter(Boolean)]),
      own: spec.testLabels,
    });
  } else if (inside) {
    const [name, own] = inside;
    other = await partOf({
      path: spec.path,
      file,
      images: name,
      labels: file.names.includes(own) ? own : undefined,
    });
    notes.push(`${images} is what is trained on (${all.count} images), ${name} the test part (${other.count})`);
  } else if (all.labels && share > 0 && new Set(all.labels).size > 1) {
    held = heldOut([...all.labels], share);
    notes.push(heldOutNote(held.size, all.count, share));
  }
  const channels = channelsOf(all);
  if (other && channelsOf(other) !== channels) {
    const got = `has test images of ${channelsOf(other)} channels`;
    throw new FileError(spec.test ?? spec.path, `${got}; those that are trained on have ${channels}`);
  }
  const trained = Array.from({ length: all.count }, (_, i) => i).filter((i) => !held.has(i));
  const scale = await scaleOf(spec.path, spec.range ?? "dtype", all, trained);
  const isPlain = scale.valueBytes === 1 && !isBands(channels) && !spec.bands;
  if (!isPlain) notes.push(noteOf({ ...scale, channels }, spec.bands, scale.ranges));
  for (const note of notes) log(`${spec.path}: ${note}`);
  const whole = await imagesOf(all, scale);
  const [train, test] = held.size > 0 ? parted(whole, held) : [whole, other && (await imagesOf(other, scale))];
  const found = [...new Set([...(all.labels ?? []), ...(other?.labels ?? [])])].sort((a, b) => a - b);
  const indexOf = new Map(found.map((label, index) => [label, index]));
  const numbered = <I extends Images | undefined>(part: I): I =>
    part?.labels ? { ...part, labels: part.labels.map((label) => indexOf.get(label) as number) } : part;
  return {
    name: spec.path,
    train: numbered(train),
    test: numbered(test),
    classes: found.map(String),
    ...(await momentsOf(train)),
    skipped: 0,
    notes,
  };
}

/** The images without those that are held out, and those. Held ones are moved together in the memory that they have. */
function parted(all: Images, held: ReadonlySet<number>): [rest: Images, held: Images] {
  const indicesOf = (wanted: boolean) =>
    Array.from({ length: all.count }, (_, i) => i).filter((i) => held.has(i) === wanted);
  if (!isHeld(all)) return [subsetOf(all, indicesOf(false)), subsetOf(all, indicesOf(true))];
  const bytes = all.height * all.width * pixelBytes(all);
  const into = (pixels: Uint8Array<SharedArrayBuffer>, indices: readonly number[]): HeldImages => {
    for (const [to, i] of indices.entries()) pixels.set(all.pixels.subarray(i * bytes, (i + 1) * bytes), to * bytes);
    const labels = all.labels && Int32Array.from(indices, (i) => (all.labels as Int32Array)[i] as number);
    return { ...all, pixels, labels, count: indices.length };
  };
  const test = into(sharedBytes(held.size * bytes), indicesOf(true));
  // Each image moves to where it is or to an earlier place, which has been moved away already.
  return [into(all.pixels.subarray(0, (all.count - held.size) * bytes), indicesOf(false)), test];
}

/** Indices above 2^31 are no integers to JavaScriptCore, and thirty times as slow. */
function* blocksOf(pixels: Uint8Array, pixel: number): Generator<Uint8Array> {
  const size = pixel * 2 ** 24;
  for (let at = 0; at < pixels.length; at += size) yield pixels.subarray(at, at + size);
}

/** Of all held images, and of some of those that are streamed. */
async function momentsOf(images: Images): Promise<{ mean: number[]; std: number[] }> {
  const moments = new Moments(images.channels, images.valueBytes);
  const blocks = isHeld(images) ? blocksOf(images.pixels, pixelBytes(images)) : sampled(images);
  for await (const pixels of blocks) moments.add(levelsOf({ pixels }, images.valueBytes));
  return moments.result();
}
