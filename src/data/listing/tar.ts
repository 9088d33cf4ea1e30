/** The files of a tar, read where they lie. */

import { indexTar } from "./tar_index.ts";
import type { Entry } from "./types.ts";

/** Throws FileError where it is not a tar or is cut short. */
export function entriesOfTar(file: string): Entry[] {
  const { entries } = indexTar(file);
  const blob = Bun.file(file);
  return entries.map(({ name, offset, size }) => ({
    name: name.replace(/^(\.\/)+/, ""),
    read: async () => Buffer.from(await blob.slice(offset, offset + size).arrayBuffer()),
  }));
}
