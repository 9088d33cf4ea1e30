/** The files of a tar, read where they lie. */
import type { CacheFolder } from "../../util/cache_folder.ts";
import { keyOfFile, savedIndex, saveIndex } from "./saved_index.ts";
import { indexTar } from "./tar_index.ts";
import { type Entries, Entry, type Source } from "./types.ts";

/**
 * @param cache - Where the index of a large tar is kept.
 * @throws FileError where it is not a tar or is cut short.
 */
export async function entriesOfTar(file: string, cache: CacheFolder): Promise<Pick<Entries, "entries" | "notes">> {
  const saved = await savedIndex(file, cache);
  const { names, offsets, sizes, notes } = saved ?? indexTar(file);
  if (!saved) await saveIndex(file, cache, { names, offsets, sizes, notes });
  const blob = Bun.file(file);
  const key = keyOfFile(file);
  const source: Source = {
    version: async (_name, at) => `${key} ${at}`,
    async read(_name, at) {
      const offset = offsets[at] as number;
      return Buffer.from(await blob.slice(offset, offset + (sizes[at] as number)).arrayBuffer());
    },
  };
  return { entries: names.map((name, at) => new Entry(name, source, at)), notes };
}
