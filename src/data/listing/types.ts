/** What files are read from, one for all of them: a closure for each of a million files takes 200 MB. */
export interface Source {
  /** @param at - The entry's own number, whatever the source means by it. */
  read(name: string, at: number): Promise<Buffer>;
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
}

export interface Entries {
  readonly entries: readonly Entry[];
  /** Whether they were in one file. */
  readonly archive: boolean;
  /** What a person should hear about them. */
  readonly notes: readonly string[];
}

export const linksNote = (links: number, kind: string): string[] =>
  links > 0 ? [`${links} ${kind}${links === 1 ? " is" : "s are"} not followed`] : [];
