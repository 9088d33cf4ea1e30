/** Image files to pixels, by sharp: all at once into memory, or each when it is asked for. */
import sharp from "sharp";
import { FileError, messageOf, UnreachableError } from "../util/errors.ts";
import { inParallel } from "../util/parallel.ts";
import { labelsOfFiles } from "./labels.ts";
import type { ImageFile } from "./listing/index.ts";
import { openedOpaque } from "./opaque.ts";
import { type Decoded, type FiledImages, type HeldImages, sharedBytes } from "./types.ts";

type Log = (message: string) => void;
interface Sizes {
  size: number;
  maxSkipped: number;
}

/** Streamed images keep their proportions up to this; what is longer loses its ends. */
const LONGEST = 2;

const holdOne = async (bytes: Buffer, size: number): Promise<Buffer> =>
  (await openedOpaque(bytes)).resize(size, size, { fit: "cover" }).toColourspace("srgb").removeAlpha().raw().toBuffer();

async function streamOne(bytes: Buffer, size: number): Promise<Decoded> {
  const { data, info } = await (await openedOpaque(bytes))
    .resize(size, size, { fit: "outside", withoutEnlargement: true })
    .toColourspace("srgb")
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const [width, height] = [info.width, info.height].map((side) => Math.min(side, LONGEST * size)) as [number, number];
  if (width === info.width && height === info.height) return { pixels: data, height, width };
  const raw = { width: info.width, height: info.height, channels: 3 as const };
  const [left, top] = [Math.floor((info.width - width) / 2), Math.floor((info.height - height) / 2)];
  return { pixels: await sharp(data, { raw }).extract({ left, top, width, height }).raw().toBuffer(), height, width };
}

function tooMany(source: string, bad: readonly string[], count: number, maxSkipped: number): FileError | undefined {
  if (bad.length <= maxSkipped * count) return undefined;
  return new FileError(source, `${summary(bad, count)}; at most ${maxSkipped * 100}% may be skipped`);
}
const summary = (bad: readonly string[], count: number) =>
  `${bad.length} of ${count} images cannot be read (first: ${bad[0]})`;

/** Decodes all of them to u8[count, size, size, 3]; unreadable ones are left out. */
export async function holdImages(
  source: string,
  files: readonly ImageFile[],
  { size, maxSkipped }: Sizes,
  classes: readonly string[],
  log: Log,
): Promise<{ images: HeldImages; skipped: number }> {
  const bytes = size * size * 3;
  const pixels = sharedBytes(files.length * bytes);
  const readable = new Uint8Array(files.length);
  const bad: string[] = [];
  await inParallel(files.length, async (i) => {
    const file = files[i] as ImageFile;
    try {
      pixels.set(await holdOne(await file.read(), size), i * bytes);
      readable[i] = 1;
    } catch (error) {
      if (error instanceof UnreachableError) throw error;
      bad.push(`${file.name}: ${messageOf(error)}`);
    }
  });
  bad.sort();
  const error = tooMany(source, bad, files.length, maxSkipped);
  if (error) throw error;
  if (bad.length > 0) log(`${source}: ${summary(bad, files.length)}; skipped`);
  const good = files.filter((_, i) => readable[i]);
  let count = 0;
  for (let i = 0; i < files.length; i++) {
    if (readable[i]) pixels.copyWithin(count++ * bytes, i * bytes, (i + 1) * bytes);
  }
  const images: HeldImages = {
    pixels: pixels.subarray(0, count * bytes) as HeldImages["pixels"],
    labels: labelsOfFiles(source, good, classes),
    count,
    height: size,
    width: size,
    channels: 3,
  };
  return { images, skipped: bad.length };
}

/**
 * Decodes nothing yet. An image that turns out to be unreadable is replaced by the next one of the source, each time
 * in the same way, so that a resumed run sees the same; more than `maxSkipped` of them fail the job.
 */
export async function streamImages(
  source: string,
  files: readonly ImageFile[],
  { size, maxSkipped }: Sizes,
  classes: readonly string[],
  log: Log,
): Promise<{ images: FiledImages; skipped: number }> {
  const bad = new Map<number, string>();
  const decode = async (index: number): Promise<Decoded> => {
    for (let i = index; ; i = (i + 1) % files.length) {
      if (bad.has(i)) continue;
      const file = files[i] as ImageFile;
      try {
        return await streamOne(await file.read(), size);
      } catch (error) {
        if (error instanceof UnreachableError) throw error;
        bad.set(i, `${file.name}: ${messageOf(error)}`);
        const failed = tooMany(source, [...bad.values()], files.length, maxSkipped);
        if (failed || bad.size === files.length) {
          throw failed ?? new FileError(source, summary([...bad.values()], files.length));
        }
        log(`${source}: ${bad.get(i)}; the next image stands in for it`);
      }
    }
  };
  log(`${source}: ${files.length} images, streamed`);
  const images: FiledImages = {
    labels: labelsOfFiles(source, files, classes),
    count: files.length,
    channels: 3,
    slotBytes: LONGEST * size * size * 3,
    decode,
  };
  return { images, skipped: 0 };
}
