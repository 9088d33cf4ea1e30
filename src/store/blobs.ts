/**
 * Where runs live: a folder or a bucket, behind the few verbs that both can keep whole. Keys are relative paths with `/`.
 * To add a kind of store: one file, one line in `open_blobs.ts`.
 */

export interface Blobs {
  readonly url: string;
  /** Undefined where there is nothing by that key. */
  read(key: string): Promise<Uint8Array | undefined>;
  /** The same without its bytes: for ranges of it, streamed. */
  open(key: string): Promise<{ body: Blob; size: number } | undefined>;
  /** Whole or not at all, and durable when it resolves. */
  write(key: string, bytes: Uint8Array | string): Promise<void>;
  /** Keys that begin with `prefix`, sorted; never one that is half-written. */
  list(prefix: string): Promise<string[]>;
  /** Names directly below the folder `prefix` (which ends with `/`), sorted: of folders. */
  folders(prefix: string): Promise<string[]>;
  /** Whether or not there is anything by that key. */
  remove(key: string): Promise<void>;
  /** Removes what writers that died have left half-written under `prefix`. */
  sweep(prefix: string): Promise<void>;
}
