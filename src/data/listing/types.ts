/** Files of a folder or an archive. */
export interface Entry {
  /** With `/` between folders, whatever the system. */
  readonly name: string;
  readonly read: () => Promise<Buffer>;
}

export interface Entries {
  readonly entries: readonly Entry[];
  /** Whether they were in one file. */
  readonly archive: boolean;
  /** What a person should hear about them. */
  readonly notes: readonly string[];
}
