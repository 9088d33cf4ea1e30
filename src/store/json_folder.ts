/** Small documents of one kind in the store, each a file of JSON: `<folder>/<id>.json`. */
import type { Blobs } from "./blobs.ts";

export class JsonFolder<T extends { readonly id: string }> {
  constructor(
    private readonly blobs: Blobs,
    private readonly folder: string,
  ) {}

  /** Takes the place of the one with its id. */
  write(document: T): Promise<void> {
    return this.blobs.write(this.keyOf(document.id), `${JSON.stringify(document, null, 2)}\n`);
  }

  /** Undefined where there is none. An id is a part of a file's name: whoever asks has checked it. */
  async read(id: string): Promise<T | undefined> {
    const bytes = await this.blobs.read(this.keyOf(id));
    return bytes && (JSON.parse(new TextDecoder().decode(bytes)) as T);
  }

  async ids(): Promise<string[]> {
    const keys = await this.blobs.list(`${this.folder}/`);
    return keys.filter((key) => key.endsWith(".json")).map((key) => key.slice(this.folder.length + 1, -".json".length));
  }

  /** In the order of their ids, without any that goes meanwhile. */
  async all(): Promise<T[]> {
    const all = await Promise.all((await this.ids()).map((id) => this.read(id)));
    return all.filter((document) => document !== undefined) as T[];
  }

  /** Whether or not there is one. */
  remove(id: string): Promise<void> {
    return this.blobs.remove(this.keyOf(id));
  }

  private keyOf(id: string): string {
    return `${this.folder}/${id}.json`;
  }
}
