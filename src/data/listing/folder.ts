/** The files below a folder. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Entries, Entry } from "./types.ts";

/** Links are not followed: one to a parent has no end, and one to elsewhere leaves the roots that datasets may lie in. */
export async function entriesOfFolder(folder: string): Promise<Omit<Entries, "archive">> {
  const entries: Entry[] = [];
  let links = 0;
  const below = [""];
  for (let part = below.pop(); part !== undefined; part = below.pop()) {
    for (const entry of await readdir(join(folder, part), { withFileTypes: true })) {
      const name = part + entry.name;
      if (entry.isDirectory()) below.push(`${name}/`);
      else if (entry.isFile()) entries.push({ name, read: () => readFile(join(folder, name)) });
      else if (entry.isSymbolicLink()) links++;
    }
  }
  const notes = links > 0 ? [`${links} symbolic link${links === 1 ? " is" : "s are"} not followed`] : [];
  return { entries, notes };
}
