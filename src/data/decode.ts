/** Image files to pixels: all at once into memory, or each when it is asked for. */
import { FileError, messageOf, UnreachableError } from "../util/errors.ts";
import { inParallel } from "../util/parallel.ts";
import type { DecodedCache, Slots } from "./decoded_cache.ts";
import { labelsOfFiles } from "./labels.ts";
import type { ImageFile } from "./listing/index.ts";
import { LONGEST, type Reader } from "./reader.ts";
import { type Decoded, type FiledImages, type HeldImages, pixelBytes, sharedBytes } from "./types.ts";

type Log = (message: string) => void;
/** Files to decode, and the texts of each where there are any. */
export interface Filed {
  readonly files: readonly ImageFile[];
  readonly texts?: readonly (readonly string[])[] | undefined;
}
interface Sizes {
  size: number;
  maxSkipped: number;
}

function tooMany(source: string, bad: readonly string[], count: number, maxSkipped: number): FileError | undefined {
  if (bad.length <= maxSkipped * count) return undefined;
  return new FileError(source, `${summary(bad, count)}; at most ${maxSkipped * 100}% may be skipped`);
}
const summary = (bad: readonly string[], count: number) =>
  `${bad.length} of ${count} images cannot be read (first: ${bad[0]})`;

/** Decodes all of them to [count, size, size, channels]; unreadable ones are left out. */
export async function holdImages(
  source: string,
  { files, texts }: Filed,
  { size, maxSkipped }: Sizes,
  classes: readonly string[],
  reader: Reader,
  log: Log,
): Promise<{ images: HeldImages; skipped: number }> {
  const { channels, valueBytes } = reader;
  const bytes = size * size * pixelBytes(reader);
  const pixels = sharedBytes(files.length * bytes);
  const readable = new Uint8Array(files.length);
  const bad: string[] = [];
  await inParallel(files.length, async (i) => {
    const file = files[i] as ImageFile;
    try {
      pixels.set(await reader.hold(await file.read(), size), i * bytes);
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
    texts: texts?.filter((_, i) => readable[i]),
    count,
    height: size,
    width: size,
    channels,
    valueBytes,
  };
  return { images, skipped: bad.length };
}

/** Opens what keeps the decoded images of one part; unset: nothing does. */
export type Keep = (slots: Omit<Slots, "room">) => DecodedCache;

/** The pixels of a file: those that are kept, or decoded and then kept. */
async function streamed(file: ImageFile, i: number, size: number, reader: Reader, kept: DecodedCache | undefined) {
  const version = await (kept && file.version());
  if (!kept || version === undefined) return reader.stream(await file.read(), size);
  const known = `${file.name} ${version}`;
  const found = await kept.get(i, known);
  if (found) return found;
  const decoded = await reader.stream(await file.read(), size);
  await kept.put(i, known, decoded);
  return decoded;
}

/**
 * Decodes nothing yet. An image that turns out to be unreadable is replaced by the next one of the source, each time
 * in the same way, so that a resumed run sees the same; more than `maxSkipped` of them fail the job.
 */
export async function streamImages(
  source: string,
  { files, texts }: Filed,
  { size, maxSkipped }: Sizes,
  classes: readonly string[],
  reader: Reader,
  log: Log,
  keep?: Keep,
): Promise<{ images: FiledImages; skipped: number }> {
  const slotBytes = LONGEST * size * size * pixelBytes(reader);
  const kept = keep?.({ count: files.length, slotBytes, pixelBytes: pixelBytes(reader) });
  log(`${source}: ${files.length} images, streamed${kept ? ", and kept decoded" : ""}`);
  const bad = new Map<number, string>();
  const decode = async (index: number): Promise<Decoded> => {
    for (let i = index; ; i = (i + 1) % files.length) {
      if (bad.has(i)) continue;
      const file = files[i] as ImageFile;
      try {
        const decoded = await streamed(file, i, size, reader, kept);
        return i === index ? decoded : { ...decoded, standIn: i };
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
  const images: FiledImages = {
    labels: labelsOfFiles(source, files, classes),
    texts,
    count: files.length,
    channels: reader.channels,
    valueBytes: reader.valueBytes,
    slotBytes,
    decode,
  };
  return { images, skipped: 0 };
}
