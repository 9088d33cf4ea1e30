/** The files of a folder or an archive, each readable by itself. What an archive is, its first bytes say, whatever its name. */
import { closeSync, existsSync, openSync, readSync, statSync } from "node:fs";
import { FileError } from "../../util/errors.ts";
import { entriesOfFolder } from "./folder.ts";
import { entriesOfTar } from "./tar.ts";
import type { Entries } from "./types.ts";
import { unpacked } from "./unpack.ts";
import { entriesOfZip } from "./zip.ts";

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

/** The kind of archive that a file is. Throws FileError that names what it is instead, where that is known. */
export function archiveKind(file: string): Archive {
  const head = Buffer.alloc(8);
  const handle = openSync(file, "r");
  readSync(handle, head, 0, head.length, 0);
  closeSync(handle);
  const found = marks.find(([, at, bytes]) => bytes.every((byte, i) => head[at + i] === byte))?.[0] ?? "tar";
  if (["tar", "gzip", "zstd", "zip", "parquet"].includes(found)) return found as Archive;
  throw new FileError(file, `is ${found}; what is read: a folder, tar, tar.gz, tar.zst, zip or Parquet`);
}

/**
 * @param cache Folder for what has to be unpacked.
 * @throws FileError where there is nothing at `path`, or nothing that can be read.
 */
export async function openEntries(
  as: "folder" | "archive",
  path: string,
  cache: string,
  log: (message: string) => void,
): Promise<Entries> {
  if (!existsSync(path)) throw new FileError(path, "is not there");
  const isFolder = statSync(path).isDirectory();
  if (isFolder !== (as === "folder")) {
    throw new FileError(path, `is a ${isFolder ? "folder" : "file"}: its kind is "${isFolder ? "folder" : "archive"}"`);
  }
  if (isFolder) return { ...(await entriesOfFolder(path)), archive: false };
  const kind = archiveKind(path);
  if (kind === "zip") return { entries: await entriesOfZip(path), archive: true, notes: [] };
  const tar = kind === "tar" ? path : await unpacked(path, kind, cache, log);
  return { ...(await entriesOfTar(tar, cache)), archive: true };
}
