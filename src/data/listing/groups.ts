/** Files with a common root: their names count from behind it. */
import { isImage } from "./names.ts";
import type { Entry } from "./types.ts";

/** Entries whose first `cut` characters are the folder that they are looked at from. A copy of a million names would take 100 MB. */
export interface Group {
  readonly entries: readonly Entry[];
  readonly cut: number;
}

/** A file that is no image, by its name in the group. */
export interface Beside {
  readonly name: string;
  readonly entry: Entry;
}

export const filesBeside = (groups: readonly Group[], is: (name: string) => boolean): Beside[] =>
  groups.flatMap(({ entries, cut }) =>
    entries.filter(({ name }) => is(name)).map((entry) => ({ name: entry.name.slice(cut), entry })),
  );

export function firstImageOf(groups: readonly Group[]): string | undefined {
  for (const { entries, cut } of groups) {
    const found = entries.find(({ name }) => isImage(name));
    if (found) return found.name.slice(cut);
  }
  return undefined;
}

export const imageNamesOf = (groups: readonly Group[]): string[] =>
  groups.flatMap(({ entries, cut }) => entries.filter(({ name }) => isImage(name)).map(({ name }) => name.slice(cut)));
