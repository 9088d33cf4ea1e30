import { stat } from "node:fs/promises";

/** What files are read from, one for all of them: a closure for each of a million files takes 200 MB. */
export interface Source {
  /** @param at - The entry's own number, whatever the source means by it. */
  read(name: string, at: number): Promise<Buffer>;
  /** What changes when the file's bytes do: a size and a time, or a checksum. Unset: nothing tells. */
  version?(name: string, at: number): Promise<string>;
}

/** A file of a folder or an archive. */
export class Entry {
  constructor(
    /** With `/` between folders, whatever the system. */
    readonly name: string,
    private readonly source: Source,
    private readonly at: number,
  ) {}

  read(): Promise<Buffer> {
    return this.source.read(this.name, this.at);
  }

  /** See `Source.version`. */
  async version(): Promise<string | undefined> {
    return this.source.version?.(this.name, this.at);
  }
}

export interface Entries {
  readonly entries: readonly Entry[];
  /** Whether they were in one file. */
  readonly archive: boolean;
  /** What a person should hear about them. */
  readonly notes: readonly string[];
}

/** The version of a file of this machine. */
export async function versionOf(file: string): Promise<string> {
  const { size, mtimeMs } = await stat(file);
  return `${size} ${mtimeMs}`;
}

export const linksNote = (links: number, kind: string): string[] =>
  links > 0 ? [`${links} ${kind}${links === 1 ? " is" : "s are"} not followed`] : [];
