/** Any folder of images, or a tar of one: class = the folder that an image lies in. */
import { createReadStream, existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import sharp from "sharp";
import tar from "tar-stream";
import { FileError, messageOf } from "../util/errors.ts";
import { type DataContext, type Dataset, type Images, sharedBytes } from "./types.ts";

const isImage = (name: string) => /\.(jpe?g|png|webp|gif|tiff?|avif)$/i.test(name);

interface ImageFile {
  name: string;
  read: () => Promise<Buffer>;
}

async function filesOfFolder(folder: string): Promise<ImageFile[]> {
  if (!existsSync(folder)) throw new FileError(folder, "is not there");
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && isImage(entry.name))
    .map((entry) => {
      const file = join(entry.parentPath, entry.name);
      return { name: relative(folder, file), read: () => readFile(file) };
    });
}

async function filesOfTar(file: string): Promise<ImageFile[]> {
  if (!existsSync(file)) throw new FileError(file, "is not there");
  const files: ImageFile[] = [];
  const extract = tar.extract();
  const source = createReadStream(file);
  source.on("error", (error) => extract.destroy(error));
  source.pipe(extract);
  try {
    for await (const entry of extract) {
      if (entry.header.type !== "file" || !isImage(entry.header.name)) {
        entry.resume();
        continue;
      }
      const chunks: Buffer[] = [];
      for await (const chunk of entry) chunks.push(chunk as Buffer);
      const bytes = Buffer.concat(chunks);
      files.push({ name: entry.header.name, read: async () => bytes });
    }
  } catch (error) {
    throw new FileError(file, `is not a readable tar: ${messageOf(error)}`, { cause: error });
  }
  return files;
}

const classOf = (name: string) => name.split("/").at(-2);

/** Decodes to u8[count, size, size, 3]. Files are sorted by name, so that order does not depend on the disk. */
async function decode(
  source: string,
  files: ImageFile[],
  size: number,
  maxSkipped: number,
  classes: string[],
  log: (m: string) => void,
) {
  if (files.length === 0) throw new FileError(source, "holds no images (JPEG, PNG, WebP, GIF, TIFF or AVIF)");
  files.sort((a, b) => (a.name < b.name ? -1 : 1));
  const bytes = size * size * 3;
  const pixels = sharedBytes(files.length * bytes);
  const good: (ImageFile | undefined)[] = new Array(files.length);
  const bad: string[] = [];
  const decodeOne = async (i: number) => {
    const file = files[i] as ImageFile;
    try {
      const raw = await sharp(await file.read(), { failOn: "error" })
        .rotate()
        .resize(size, size, { fit: "cover" })
        .toColourspace("srgb")
        .removeAlpha()
        .raw()
        .toBuffer();
      pixels.set(raw, i * bytes);
      good[i] = file;
    } catch (error) {
      bad.push(`${file.name}: ${messageOf(error)}`);
    }
  };
  let next = 0;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      while (next < files.length) await decodeOne(next++);
    }),
  );
  if (bad.length > 0) {
    bad.sort();
    const share = bad.length / files.length;
    const detail = `${bad.length} of ${files.length} images cannot be read (first: ${bad[0]})`;
    if (share > maxSkipped) throw new FileError(source, `${detail}; at most ${maxSkipped * 100}% may be skipped`);
    log(`${source}: ${detail}; skipped`);
  }
  let count = 0;
  const labels: number[] = [];
  good.forEach((file, i) => {
    if (!file) return;
    if (count !== i) pixels.copyWithin(count * bytes, i * bytes, (i + 1) * bytes);
    count++;
    const name = classOf(file.name);
    labels.push(name === undefined ? -1 : classes.indexOf(name));
  });
  const unknown = good.find(
    (file) => file && classOf(file.name) !== undefined && !classes.includes(classOf(file.name) as string),
  );
  if (unknown)
    throw new FileError(join(source, unknown.name), `class ${classOf(unknown.name)} is not among the training classes`);
  const images: Images = {
    pixels: pixels.subarray(0, count * bytes) as Images["pixels"],
    labels: labels.some((l) => l < 0) ? undefined : Int32Array.from(labels),
    count,
    height: size,
    width: size,
    channels: 3,
  };
  return { images, skipped: bad.length };
}

export interface ImageFilesSpec {
  kind: "folder" | "tar";
  path: string;
  test?: string | undefined;
  size: number;
  maxSkipped: number;
}

/** Throws FileError for an empty source, and when more than `maxSkipped` of its images cannot be read. */
export async function loadImageFiles(spec: ImageFilesSpec, { log }: DataContext): Promise<Dataset> {
  const list = spec.kind === "tar" ? filesOfTar : filesOfFolder;
  const files = await list(spec.path);
  const names = new Set(files.map((file) => classOf(file.name)).filter((name) => name !== undefined));
  const classes = [...names].sort();
  const train = await decode(spec.path, files, spec.size, spec.maxSkipped, classes, log);
  const test = spec.test
    ? await decode(spec.test, await list(spec.test), spec.size, spec.maxSkipped, classes, log)
    : undefined;
  return {
    name: spec.path,
    train: train.images,
    test: test?.images,
    classes,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    skipped: train.skipped + (test?.skipped ?? 0),
  };
}
