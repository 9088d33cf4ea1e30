/** Small JSON documents of one kind in the store, each in a file: `<folder>/<id>.json`. */
import type { Blobs } from "./blobs.ts";

export class JsonFolder<T extends { readonly id: string }> {
  constructor(
    private readonly blobs: Blobs,
    private readonly folder: string,
  ) {}

  /** Writes a document, replacing the one with its id. */
  write(document: T): Promise<void> {
    return this.blobs.write(this.keyOf(document.id), `${JSON.stringify(document, null, 2)}\n`);
  }

  /**
   * Reads a document; undefined where there is none. The caller validates the id, which becomes part of a file name.
   */
  async read(id: string): Promise<T | undefined> {
    const bytes = await this.blobs.read(this.keyOf(id));
    return bytes && (JSON.parse(new TextDecoder().decode(bytes)) as T);
  }

  /** Lists the ids of all documents, sorted. */
  async ids(): Promise<string[]> {
    const keys = await this.blobs.list(`${this.folder}/`);
    return keys.filter((key) => key.endsWith(".json")).map((key) => key.slice(this.folder.length + 1, -".json".length));
  }

  /** Reads all documents in the order of their ids, except those deleted concurrently. */
  async all(): Promise<T[]> {
    const all = await Promise.all((await this.ids()).map((id) => this.read(id)));
    return all.filter((document) => document !== undefined) as T[];
  }

  /** Deletes a document; no error where there is none. */
  remove(id: string): Promise<void> {
    return this.blobs.remove(this.keyOf(id));
  }

  private keyOf(id: string): string {
    return `${this.folder}/${id}.json`;
  }
}
