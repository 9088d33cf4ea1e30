/** The files below a folder. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Entries, Entry, linksNote, type Source, versionOf } from "./types.ts";

/** Links are not followed: one to a parent has no end, and one to elsewhere leaves the roots that datasets may lie in. */
export async function entriesOfFolder(folder: string): Promise<Omit<Entries, "archive">> {
  const source: Source = {
    read: (name) => readFile(join(folder, name)),
    version: (name) => versionOf(join(folder, name)),
  };
  const entries: Entry[] = [];
  let links = 0;
  const below = [""];
  for (let part = below.pop(); part !== undefined; part = below.pop()) {
    for (const entry of await readdir(join(folder, part), { withFileTypes: true })) {
      const name = part + entry.name;
      if (entry.isDirectory()) below.push(`${name}/`);
      else if (entry.isFile()) entries.push(new Entry(name, source, 0));
      else if (entry.isSymbolicLink()) links++;
    }
  }
  return { entries, notes: linksNote(links, "symbolic link") };
}
