/** The files of a folder or an archive, each readable by itself. */
import { existsSync, statSync } from "node:fs";
import type { TextsSetting } from "../../schema/dataset.ts";
import type { CacheFolder } from "../../util/cache_folder.ts";
import { FileError } from "../../util/errors.ts";
import { archiveKind } from "./archive_kind.ts";
import { entriesOfFolder } from "./folder.ts";
import { entriesOfTar } from "./tar.ts";
import type { Entries } from "./types.ts";
import { unpacked } from "./unpack.ts";
import { entriesOfZip } from "./zip.ts";

/**
 * @param cache For what has to be unpacked.
 * @param texts Columns of Parquet that are unpacked beside the images.
 * @throws FileError where there is nothing at `path`, or nothing that can be read.
 */
export async function openEntries(
  as: "folder" | "archive",
  path: string,
  cache: CacheFolder,
  log: (message: string) => void,
  texts?: TextsSetting,
): Promise<Entries> {
  if (!existsSync(path)) throw new FileError(path, "is not there");
  const isFolder = statSync(path).isDirectory();
  if (isFolder !== (as === "folder")) {
    throw new FileError(path, `is a ${isFolder ? "folder" : "file"}: its kind is "${isFolder ? "folder" : "archive"}"`);
  }
  if (isFolder) return { ...(await entriesOfFolder(path)), archive: false };
  const kind = archiveKind(path);
  if (kind === "zip") return { entries: await entriesOfZip(path), archive: true, notes: [] };
  const tar = kind === "tar" ? path : await unpacked(path, kind, cache, log, { texts });
  return { ...(await entriesOfTar(tar, cache)), archive: true };
}
