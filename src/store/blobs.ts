/**
 * Where runs are stored: a folder or a bucket, behind the few operations that both can make atomic. Keys are relative
 * paths with `/`. To add a kind of store: one file, one line in `open_blobs.ts`.
 */

export interface Blobs {
  readonly url: string;
  /** Reads a blob; undefined where there is none. */
  read(key: string): Promise<Uint8Array | undefined>;
  /** Opens a blob without reading it, to stream it or ranges of it. */
  open(key: string): Promise<{ body: Blob; size: number } | undefined>;
  /** Writes a blob atomically; it is durable when this resolves. */
  write(key: string, bytes: Uint8Array | string): Promise<void>;
  /** Lists the keys that begin with `prefix`, sorted; never a partially written blob. */
  list(prefix: string): Promise<string[]>;
  /** Lists the same keys with the bytes of each, without a request for each. */
  sizes(prefix: string): Promise<Map<string, number>>;
  /** Lists the names of the folders directly below the folder `prefix`, which ends with `/`, sorted. */
  folders(prefix: string): Promise<string[]>;
  /** Deletes a blob; no error where there is none. */
  remove(key: string): Promise<void>;
  /** Deletes what dead writers have left partially written under `prefix`, and empty folders in it: only its writer may. */
  sweep(prefix: string): Promise<void>;
}
