/** The records of stored datasets: a document of the store for each, and for each import whose file was there already. */
import { datasetId } from "../schema/dataset.ts";
import type { Blobs } from "./blobs.ts";
import { type Duplicate, recordOf, type StoredDataset } from "./stored_dataset.ts";

export class DatasetRecords {
  constructor(private readonly blobs: Blobs) {}

  /** The id of an import whose file was there already gives the dataset that has it. */
  async get(id: string): Promise<StoredDataset | undefined> {
    const found = await this.read(id);
    if (!found || !("sameAs" in found)) return found;
    const same = await this.read(found.sameAs);
    return same && "sameAs" in same ? undefined : same;
  }

  /** In the order of their ids: oldest first. */
  async all(): Promise<(StoredDataset | Duplicate)[]> {
    const found = await Promise.all((await this.blobs.folders("uploads/")).map((id) => this.read(id)));
    return found.filter((document) => document !== undefined);
  }

  write(record: StoredDataset | Duplicate): Promise<void> {
    return this.blobs.write(recordOf(record.id), `${JSON.stringify(record)}\n`);
  }

  /** An id becomes part of a key, so what is no id is not looked for. */
  private async read(id: string): Promise<StoredDataset | Duplicate | undefined> {
    if (!datasetId.test(id)) return undefined;
    const bytes = await this.blobs.read(recordOf(id));
    return bytes && (JSON.parse(new TextDecoder().decode(bytes)) as StoredDataset | Duplicate);
  }
}
