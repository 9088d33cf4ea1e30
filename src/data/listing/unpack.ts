/**
 * Files of which no part can be read alone, unpacked once into a tar of the cache: compressed tars, and Parquet's row groups.
 */
import { createReadStream, createWriteStream, existsSync, renameSync, rmSync, statSync } from "node:fs";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import type { TextsSetting } from "../../schema/dataset.ts";
import { type CacheFolder, keyOf } from "../../util/cache_folder.ts";
import { FileError, messageOf } from "../../util/errors.ts";
import { GROWTH, mostUnpacked } from "./growth.ts";
import { tarOfParquet } from "./parquet.ts";
import { keyOfFile } from "./saved_index.ts";

/** Bytes that any may unpack to. */
const ALWAYS_ALLOWED = 2 ** 30;

export interface Unpacking {
  /** Of Parquet: its columns of texts. */
  readonly texts?: TextsSetting | undefined;
  /** Bytes that any file may unpack to; of one that is 20 times smaller, more. */
  readonly allowed?: number;
}

/** The tar's bytes, one stream into the next. */
const streamsOf: Record<
  "gzip" | "zstd" | "parquet",
  (file: string, columns: readonly string[]) => [Readable, ...Transform[]]
> = {
  gzip: (file) => [createReadStream(file), createGunzip()],
  zstd: (file) => [createReadStream(file), createZstdDecompress()],
  parquet: (file, columns) => [tarOfParquet(file, columns)],
};

/**
 * The tar that `file` holds, as a file of the cache: made anew where `file` has another size or time than it had. Two processes
 * may unpack at once; each writes a file of its own, and the last one stays.
 *
 * @throws FileError where it cannot be unpacked, or grows out of measure.
 */
export async function unpacked(
  file: string,
  kind: keyof typeof streamsOf,
  cache: CacheFolder,
  log: (message: string) => void,
  { texts, allowed = ALWAYS_ALLOWED }: Unpacking = {},
): Promise<string> {
  const { size } = statSync(file);
  const columns = kind === "parquet" && texts && texts !== "beside" ? texts : [];
  const key = keyOfFile(file);
  const to = cache.file("unpacked", columns.length > 0 ? keyOf([key, columns]) : key);
  if (existsSync(to)) {
    cache.used(to);
    return to;
  }
  log(`${file}: unpacking ${(size / 1e6).toFixed(0)} MB`);
  const most = mostUnpacked(size, allowed);
  let bytes = 0;
  const limited = new Transform({
    transform(part: Buffer, _encoding, done) {
      bytes += part.length;
      done(bytes > most ? new Error(`unpacks to more than ${most} bytes, ${GROWTH} times its size`) : null, part);
    },
  });
  const mine = `${to}.${process.pid}.part`;
  try {
    await pipeline([...streamsOf[kind](file, columns), limited, createWriteStream(mine)]);
    renameSync(mine, to);
    cache.used(to);
  } catch (error) {
    rmSync(mine, { force: true });
    throw new FileError(file, `cannot be unpacked: ${messageOf(error)}`);
  }
  return to;
}
