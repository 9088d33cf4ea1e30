/** The files below a prefix of a bucket, each fetched when it is read: nothing is copied to this machine. */
import { FileError } from "../../util/errors.ts";
import { limiter } from "../../util/limiter.ts";
import type { Bucket } from "../types.ts";
import { Entry, type Source } from "./types.ts";

/** Requests for images at a time, for each opened bucket. */
const READS = 16;

/** Keys are listed once. Throws what the bucket throws: UserError where it is not there or may not be read. */
export async function entriesOfBucket(url: string, { list, read }: Bucket): Promise<Entry[]> {
  const tags = await list();
  const limit = limiter(READS);
  const source: Source = {
    read: (name) =>
      limit(async () => {
        const bytes = await read(name);
        if (!bytes) throw new FileError(`${url.replace(/\/$/, "")}/${name}`, "is not in the bucket any more");
        return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      }),
    version: async (name) => tags.get(name) as string,
  };
  // A key that ends with a slash is what consoles make of an empty folder.
  const keys = [...tags.keys()].filter((key) => !key.endsWith("/"));
  if (keys.length === 0) throw new FileError(url, "has no objects below it");
  return keys.map((key) => new Entry(key, source, 0));
}
