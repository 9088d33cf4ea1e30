/**
 * The index of a tar, kept for the next job that reads it. To list a tar, a header of each file is read, and on a disk that turns or
 * over a network each of them takes milliseconds. It counts while the tar has the size and the time that it had. A folder's listing is
 * not kept: nothing but the listing itself tells that a file was added to one of its folders or taken away.
 */
import { closeSync, openSync, renameSync, statSync, writeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { type CacheFolder, keyOf } from "../../util/cache_folder.ts";
import type { TarIndex } from "./tar_index.ts";

/** Smaller ones are listed as fast as they are read. */
const FEWEST = 10_000;
const FORMAT = 1;
/** Names that are written together. */
const AT_ONCE = 10_000;

interface Header {
  readonly format: number;
  readonly count: number;
  /** Bytes of all names, each with a zero behind it. */
  readonly names: number;
  readonly notes: readonly string[];
}

/** A name for what is derived from a file: another one when its place, size or time is another. */
export function keyOfFile(file: string): string {
  const { size, mtimeMs } = statSync(file);
  return keyOf([resolve(file), size, mtimeMs]);
}

/** Undefined where there is none, or not a whole one of this format. */
export async function savedIndex(file: string, cache: CacheFolder): Promise<TarIndex | undefined> {
  const key = keyOfFile(file);
  if (!cache.has("listings", key)) return undefined;
  const place = cache.file("listings", key);
  cache.used(place);
  const bytes = await readFile(place);
  const end = bytes.indexOf(10);
  const { format, count, names, notes } = JSON.parse(bytes.toString("utf8", 0, end)) as Header;
  const begin = end + 1 + names;
  if (format !== FORMAT || bytes.length !== begin + 16 * count) return undefined;
  const numbers = (from: number) => new Float64Array(bytes.buffer.slice(from, from + 8 * count) as ArrayBuffer);
  const at = bytes.byteOffset + begin;
  const list: string[] = new Array(count);
  for (let i = 0, from = end + 1; i < count; i++) {
    const to = bytes.indexOf(0, from);
    list[i] = bytes.toString("utf8", from, to);
    from = to + 1;
  }
  return { names: list, offsets: numbers(at), sizes: numbers(at + 8 * count), notes };
}

/** Does nothing for a small one. */
export async function saveIndex(file: string, cache: CacheFolder, index: TarIndex): Promise<void> {
  const { names, offsets, sizes, notes } = index;
  if (names.length < FEWEST) return;
  const place = cache.file("listings", keyOfFile(file));
  const length = names.reduce((sum, name) => sum + Buffer.byteLength(name) + 1, 0);
  const header: Header = { format: FORMAT, count: names.length, names: length, notes };
  const mine = `${place}.${process.pid}.part`;
  const out = openSync(mine, "w");
  try {
    writeSync(out, `${JSON.stringify(header)}\n`);
    for (let i = 0; i < names.length; i += AT_ONCE) writeSync(out, `${names.slice(i, i + AT_ONCE).join("\0")}\0`);
    writeSync(out, offsets);
    writeSync(out, sizes);
  } finally {
    closeSync(out);
  }
  renameSync(mine, place);
  cache.used(place);
}
