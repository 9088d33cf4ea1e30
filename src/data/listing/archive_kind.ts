/** What an archive is: its first bytes say, whatever its name. */
import { closeSync, openSync, readSync } from "node:fs";
import { FileError } from "../../util/errors.ts";
import { isHeader, TAR_BLOCK } from "./tar_index.ts";

export type Archive = "tar" | "gzip" | "zstd" | "zip" | "parquet";

/** Where a file begins with these bytes. A tar has its mark at byte 257, where it has one at all. */
const marks: readonly (readonly [Archive | string, number, readonly number[]])[] = [
  ["zip", 0, [0x50, 0x4b, 0x03, 0x04]],
  ["zip", 0, [0x50, 0x4b, 0x05, 0x06]],
  ["parquet", 0, [0x50, 0x41, 0x52, 0x31]],
  ["gzip", 0, [0x1f, 0x8b]],
  ["zstd", 0, [0x28, 0xb5, 0x2f, 0xfd]],
  ["a bzip2 archive: bunzip2 it", 0, [0x42, 0x5a, 0x68]],
  ["an xz archive: unxz it", 0, [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
  ["a 7-Zip archive: 7z x it", 0, [0x37, 0x7a, 0xbc, 0xaf]],
  ["a RAR archive: unrar it", 0, [0x52, 0x61, 0x72, 0x21]],
  ['an HDF5 file: its kind is "array"', 0, [0x89, 0x48, 0x44, 0x46]],
  ['a NumPy array: its kind is "array"', 0, [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]],
];

export const ARCHIVES = "a tar, tar.gz, tar.zst, zip or Parquet";
const isKind = (found: string): found is Archive => ["tar", "gzip", "zstd", "zip", "parquet"].includes(found);

/** What the bytes begin, by name; undefined where no mark says it, as of a tar. */
const markOf = (head: Uint8Array) =>
  marks.find(([, at, bytes]) => bytes.every((byte, i) => head[at + i] === byte))?.[0];

/** The kind of archive that a file is. Throws FileError that names what it is instead, where that is known. */
export function archiveKind(file: string): Archive {
  const head = Buffer.alloc(8);
  const handle = openSync(file, "r");
  readSync(handle, head, 0, head.length, 0);
  closeSync(handle);
  const found = markOf(head) ?? "tar";
  if (isKind(found)) return found;
  throw new FileError(file, `is ${found}; what is read: a folder, tar, tar.gz, tar.zst, zip or Parquet`);
}

/** What a file is instead of an archive, by its first bytes; undefined for one of `ARCHIVES`. */
export function noArchive(start: Uint8Array): string | undefined {
  const found = markOf(start);
  if (found !== undefined) return isKind(found) ? undefined : found;
  const header = Buffer.from(start.buffer, start.byteOffset, Math.min(start.length, TAR_BLOCK));
  return header.length === TAR_BLOCK && isHeader(header) ? undefined : "no archive";
}
